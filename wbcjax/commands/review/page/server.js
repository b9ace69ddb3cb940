// What the page asks of its server; all addresses are relative to the page's own, which has the token.

export class Refusal extends Error {
  constructor(said, status) { super(said); this.status = status; }
}

export async function get(path) {
  const answer = await reached(fetch(path));
  return answer.status === 204 ? null : read(answer);
}

export async function post(path, values) {
  const body = JSON.stringify(values), headers = { "Content-Type": "application/json" };
  return read(await reached(fetch(path, { method: "POST", headers, body })));
}

async function reached(asked) {
  try { return await asked; }
  catch { throw new Refusal("The server does not answer. What was shown as done is kept: start wbcjax review again.", 0); }
}

async function read(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  const content = kind.startsWith("application/json") ? await answer.json() : { said: await answer.text() };
  if (!answer.ok) throw new Refusal(content.said ?? `error ${answer.status}`, answer.status);
  return content;
}

export function image(path) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Refusal("The image could not be loaded.", 0));
    picture.src = path;
  });
}
