// The page of a review: the field at hand, what keys and the pointer do to it, the queue and the panels.

import { at, drawable, Grid, grip, known, pairs, Points } from "./geometry.js";
import { get, image, post, Refusal } from "./server.js";
import { View } from "./view.js";

const REACH = 9;        // screen pixels within which a point of the selected outline is taken hold of
const AROUND = 40;      // screen pixels around the pointer in which candidates are shown
const CLICK = 4;        // screen pixels that the pointer may move in a click
const STEP = 3;         // screen pixels between the points of a drawn line
const KEPT = 8;         // images
const EVERY = 1500;     // milliseconds between questions for what has changed elsewhere

const $ = id => document.getElementById(id);
const stage = $("stage"), view = new View(stage);
const times = { show: [], select: [] }; // milliseconds, until it is drawn
let set, field, queue = [], version = "", label = 1, drawing = false, allGhosts = false;
let pointer = null;     // of the mouse, screen pixels on the stage
let press = null;       // what a pressed button does: "pan", "stroke", "point" or "click"
let waiting = Promise.resolve(), busy = 0, opened = 0;
const before = [];      // fields looked at, for P
const pictures = new Map();

// ---------------------------------------------------------------------------------------------------------- the field

async function open(number, fresh = true) {
  const began = performance.now(), mine = ++opened, picture = pictureOf(number);
  let answer;
  try { answer = await get(`api/fields/${number}`); } catch (error) { return tell(error); }
  if (mine !== opened) return; // another one was opened since
  if (fresh && field && field.number !== number) before.push(field.number);
  field = { ...answer, cells: new Map() };
  const grid = new Grid(), points = new Points(answer.points);
  for (const plain of answer.cells) addCell(plain, points, grid);
  field.candidates = answer.ghosts.map(([id, label, score, sizes]) => drawable({ id, label, score }, points.take(sizes)));
  const { width, height } = answer;
  const thumbnail = lines.get(number)?.picture; // until the image is there
  view.scene = { image: thumbnail?.complete && thumbnail.naturalWidth ? thumbnail : null, width, height, grid, colours: set.colours, ghosts: [], hidden: view.scene?.hidden,
    drawn: () => { if (began) { times.show.push(performance.now() - began); view.scene.drawn = null; } } };
  sortGhosts();
  if (fresh) view.fit(); else view.redraw();
  tellState();
  markCurrent();
  counts();
  try {
    const whole = await picture;
    if (mine === opened) { view.scene.image = whole; view.redraw("picture"); }
  } catch (error) { return tell(error); }
  const following = queue.find(line => !line.done && line.number !== number);
  if (following) pictureOf(following.number).catch(() => {}); // ahead of its need
}

function pictureOf(number) { // the last few are kept
  const path = `image/${number}/${$("look").value}`;
  const kept = pictures.get(path) ?? image(path);
  pictures.delete(path);
  pictures.set(path, kept);
  kept.catch(() => pictures.delete(path));
  if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  return kept;
}

function addCell(plain, points, grid) {
  const cell = drawable(plain, points.take(plain.parts));
  field.cells.set(cell.id, cell);
  grid.add(cell);
}

function removeCell(id) {
  const cell = field.cells.get(id);
  if (!cell) return;
  field.cells.delete(id);
  view.scene.grid.remove(cell);
  if (view.scene.selected === cell) view.scene.selected = null;
  if (view.scene.hovered === cell) view.scene.hovered = null;
}

function sortGhosts() { // candidates of cells that are there already are no ghosts
  field.ghosts = new Grid();
  for (const one of field.candidates) if (!known(one, view.scene.grid)) field.ghosts.add(one);
}

// One action after the other, each made of the field as the one before has left it, also where another one is shown by now.
function act(values, path = "act") {
  const mine = field;
  if (!mine) return waiting;
  busy++;
  waiting = waiting.then(async () => {
    try {
      const answer = await post(`api/fields/${mine.number}/${path}`, { ...values, revision: mine.revision });
      const { revision, done, can_undo, can_redo } = answer;
      Object.assign(mine, { revision, done, can_undo, can_redo });
      if (field === mine) changed(answer);
      if (answer.score !== undefined) tell(`Found, with score ${answer.score.toFixed(2)}; U takes it back.`);
      refresh();
    } catch (error) {
      tell(error);
      if (error.status === 409 && field === mine) await open(mine.number, false);
    }
  }).finally(() => busy--);
  return waiting;
}

function changed({ drop, put, points: packed }) {
  const points = new Points(packed);
  const selected = view.scene.selected?.id;
  drop.forEach(removeCell);
  for (const plain of put) addCell(plain, points, view.scene.grid);
  if (selected !== undefined) view.scene.selected = field.cells.get(selected) ?? null;
  sortGhosts();
  point();
  view.redraw("cells", "hand");
  tellState();
  counts();
}

// ------------------------------------------------------------------------------------------------------ what is aimed at

const target = () => view.scene?.selected ?? view.scene?.hovered ?? null;

function point() { // what lies under the pointer, and which candidates are near it
  const scene = view.scene;
  if (!scene || !pointer) return;
  const [x, y] = view.toImage(...pointer), reach = AROUND / view.scale;
  scene.hovered = at(scene.grid, x, y);
  const near = [x - reach, y - reach, x + reach, y + reach];
  scene.ghosts = allGhosts ? [...field.ghosts.meeting([0, 0, scene.width, scene.height])]
    : scene.hovered ? [] : [...field.ghosts.meeting(near)];
  scene.aimed = scene.hovered ? null : at(field.ghosts, x, y);
  stage.style.cursor = press?.kind === "pan" ? "grabbing" : drawing ? "crosshair" : scene.hovered || scene.aimed ? "pointer" : "default";
  view.redraw("hand");
}

function select(cell) {
  const began = performance.now();
  view.scene.selected = cell;
  view.scene.drawn = () => { times.select.push(performance.now() - began); view.scene.drawn = null; };
  if (cell) tell(`${set.classes[cell.label - 1]}${cell.score === undefined ? "" : `, score ${cell.score.toFixed(2)}`}`);
  view.redraw("hand");
}

function take() {
  const scene = view.scene;
  if (scene?.aimed) return act({ action: "take", candidate: scene.aimed.id });
  const [x, y] = view.toImage(...(pointer ?? [-1, -1]));
  const distance = one => Math.hypot((one.box[0] + one.box[2]) / 2 - x, (one.box[1] + one.box[3]) / 2 - y);
  const nearest = [...(scene?.ghosts ?? [])].sort((a, b) => distance(a) - distance(b))[0];
  if (nearest) act({ action: "take", candidate: nearest.id }); else tell("There is no candidate near the pointer.");
}

function ask() {
  if (!pointer || !field) return;
  const [x, y] = view.toImage(...pointer);
  if (x < 0 || y < 0 || x >= field.width || y >= field.height) return;
  if (!set.model) return tell("There is no model to ask: draw the cell (D, or Shift and drag).");
  tell("Asking the model ...");
  act({ x, y }, "ask");
}

function clicked() {
  const scene = view.scene;
  if (scene.hovered) return select(scene.hovered === scene.selected ? null : scene.hovered);
  if (scene.selected) return select(null);
  if (scene.aimed) return take();
  ask();
}

// ------------------------------------------------------------------------------------------------------- the pointer

const place = event => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const moved = (from, to) => Math.hypot(from[0] - to[0], from[1] - to[1]);

$("hand").addEventListener("pointerdown", event => {
  if (!view.scene || press) return;
  stage.focus();
  pointer = place(event);
  $("hand").setPointerCapture(event.pointerId);
  const from = pointer, at = view.toImage(...from);
  if (event.button > 0) press = { kind: "pan", from };
  else if (drawing || event.shiftKey) { press = { kind: "stroke", from }; view.scene.stroke = [at]; }
  else {
    const cell = view.scene.selected, hold = cell && !cell.boxOnly && grip(cell, ...at, REACH / view.scale);
    press = hold ? { kind: "point", from, hold, cell } : { kind: "click", from };
  }
});

$("hand").addEventListener("pointermove", event => {
  const now = place(event), dx = now[0] - (pointer ?? now)[0], dy = now[1] - (pointer ?? now)[1];
  if (press?.kind === "click" && moved(press.from, now) > CLICK) {
    press.kind = "pan";
    view.pan(now[0] - press.from[0], now[1] - press.from[1]);
  } else if (press?.kind === "pan") view.pan(dx, dy);
  if (press?.kind === "stroke") {
    for (const step of event.getCoalescedEvents?.() ?? [event]) {
      const line = view.scene.stroke, spot = place(step);
      if (moved(view.toScreen(...line.at(-1)), spot) >= STEP) line.push(view.toImage(...spot));
    }
  }
  if (press?.kind === "point" && (press.moved ||= moved(press.from, now) > CLICK))
    view.scene.dragged = drawable(press.cell, draggedTo(press, view.toImage(...now)));
  pointer = now;
  point();
});

function draggedTo({ cell, hold }, spot) {
  return cell.parts.map((points, part) =>
    part === hold.part ? [...points].toSpliced(2 * hold.index, hold.fresh ? 0 : 2, ...spot) : points);
}

function released(event) {
  const done = press, scene = view.scene;
  press = null;
  if (!done || !scene) return;
  const line = scene.stroke, dragged = scene.dragged;
  scene.stroke = scene.dragged = null;
  if (event.type === "pointercancel") return view.redraw("hand");
  if (done.kind === "stroke" && line.length > 2) act({ action: "stroke", points: line, label });
  if (done.kind === "point" && dragged) {
    const { part } = done.hold;
    act({ action: "reshape", cell: done.cell.id, part, points: pairs(dragged.parts[part]) });
  } else if (done.kind === "click" || done.kind === "point") { point(); clicked(); }
  point();
}

$("hand").addEventListener("pointerup", released);
$("hand").addEventListener("pointercancel", released);
$("hand").addEventListener("pointerleave", () => {
  if (press || !view.scene) return;
  pointer = null;
  Object.assign(view.scene, { hovered: null, aimed: null, ghosts: allGhosts ? view.scene.ghosts : [] });
  view.redraw("hand");
});
$("hand").addEventListener("contextmenu", event => event.preventDefault());
stage.addEventListener("wheel", event => {
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 24 : 1);
  view.zoom(Math.exp(-pixels * .0015), ...place(event));
  point();
}, { passive: false });

// ------------------------------------------------------------------------------------------------------------- the keys

const KEYS = [
  ["1 ... 9", "name the cell that is selected, or under the pointer; else the class of what is drawn next"],
  ["Delete", "remove that cell", () => remove("remove"), ["Delete", "Backspace", "x"]],
  ["Shift Delete", "remove it and all that score no higher", () => remove("remove_below"), ["shift+Delete", "shift+x"]],
  ["D", "draw, cut and join, on or off; or hold Shift and drag", () => draw(!drawing), ["d"]],
  ["T", "take the candidate near the pointer", take, ["t"]],
  ["A", "ask the model for a cell under the pointer", ask, ["a"]],
  ["G", "show all candidates, or those near the pointer", () => { allGhosts = !allGhosts; point(); }, ["g"]],
  ["U, Ctrl Z", "undo", () => act({ action: "undo" }), ["u", "ctrl+z"]],
  ["R, Ctrl Y", "redo", () => act({ action: "redo" }), ["r", "ctrl+y", "ctrl+shift+z"]],
  ["F, Enter", "mark as done and go on; or open again", finish, ["f", "Enter"]],
  ["N", "the next open field, the most doubtful first", next, ["n"]],
  ["P", "the field looked at before", () => { if (before.length) open(before.pop()).then(() => before.pop()); }, ["p"]],
  ["Tab", "select the next cell", () => step(1), ["Tab"]],
  ["Shift Tab", "select the one before", () => step(-1), ["shift+Tab"]],
  ["Escape", "select nothing, stop drawing", escape, ["Escape"]],
  ["L", "look at the image in another way", () => look(1), ["l"]],
  ["H", "hide the outlines, or show them", () => { view.scene.hidden = !view.scene.hidden; view.redraw("cells"); }, ["h"]],
  ["+, -, 0", "larger, smaller, the whole field; also the wheel"],
  ["Arrows", "move the view; also by dragging it", null],
  ["Shift T", "train again on the fields that are done", train, ["shift+t"]],
  ["?", "these keys", () => $("keys").showModal(), ["?"]],
];
const ACTIONS = new Map(KEYS.flatMap(([, , run, names]) => (names ?? []).map(name => [name, run])));
const MOVES = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

document.addEventListener("keydown", event => {
  if (!field || $("keys").open || event.altKey || event.target.tagName === "SELECT") return;
  const focused = event.target.tagName === "BUTTON";
  if (focused && (event.key === "Enter" || event.key === " " || event.key === "Tab")) return; // the button's own
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const name = [event.ctrlKey || event.metaKey ? "ctrl" : "", event.shiftKey && (key.length > 1 || /[a-z]/.test(key)) ? "shift" : "", key]
    .filter(Boolean).join("+");
  const run = ACTIONS.get(name);
  if (run) run();
  else if (/^[1-9]$/.test(name)) nameIt(Number(name));
  else if (name === "+" || name === "=") view.zoom(1.25, ...(pointer ?? []));
  else if (name === "-") view.zoom(.8, ...(pointer ?? []));
  else if (name === "0") view.fit();
  else if (MOVES[name]) view.pan(...MOVES[name].map(way => way * 90));
  else return;
  event.preventDefault();
  point();
});

function nameIt(number) {
  if (number > set.classes.length) return tell(`There is no class ${number}.`);
  const cell = target();
  if (!cell) { label = number; return tellClasses(); }
  if (cell.label !== number) act({ action: "name", cell: cell.id, label: number });
}

function remove(action) { const cell = target(); if (cell) act({ action, cell: cell.id }); }

function draw(on) { drawing = on; $("draw").setAttribute("aria-pressed", on); point(); }

function escape() { draw(false); if (view.scene) { view.scene.stroke = null; press = null; select(null); } }

function step(way) {
  const cells = [...field.cells.values()].sort((a, b) => a.box[1] - b.box[1] || a.box[0] - b.box[0]);
  if (!cells.length) return;
  const now = cells.indexOf(view.scene.selected);
  const cell = cells[(now + way + cells.length + (now < 0 && way < 0)) % cells.length];
  select(cell);
  view.show(cell.box);
}

function look(by) {
  $("look").selectedIndex = ($("look").selectedIndex + by + set.looks.length) % set.looks.length;
  const number = field.number;
  pictureOf(number).then(
    picture => { if (field.number === number) { view.scene.image = picture; view.redraw("picture"); } }, tell);
}

async function finish() {
  const number = field.number, done = !field.done;
  await act({ action: done ? "done" : "open" });
  if (done && field.number === number && field.done) next();
}

async function next() {
  await refresh();
  const open_ones = queue.filter(line => !line.done && line.number !== field?.number);
  if (open_ones.length) open(open_ones[0].number); else tell("All other fields are done.");
}

// ----------------------------------------------------------------------------------------------------------- the panels

const element = (tag, values = {}, ...inner) => {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...inner);
  return made;
};
const lines = new Map(); // the queue's buttons, by their field
let shownNumber;

async function refresh() {
  let answer;
  try { answer = await get(`api/queue?version=${version}`); } catch (error) { return tell(error); }
  if (!answer) return;
  ({ version, fields: queue } = answer);
  if (answer.failure) tell(new Refusal(answer.failure, 500));
  const most = Math.max(...queue.map(line => line.doubt), 1e-9);
  for (const line of queue) fieldButton(line, most);
  const buttons = queue.map(line => lines.get(line.number).button), shown = [...$("queue").children];
  if (buttons.length !== shown.length || buttons.some((button, i) => button !== shown[i])) $("queue").replaceChildren(...buttons);
  const mine = queue.find(line => line.number === field?.number);
  if (mine && mine.revision !== field.revision && !busy && !press) open(field.number, false); // changed elsewhere
  markCurrent();
}

function fieldButton(line, most) {
  let known = lines.get(line.number);
  if (!known) {
    const picture = element("img", { src: `thumbnail/${line.number}`, loading: "lazy", alt: "" });
    const title = element("span", { className: "title", textContent: line.name }), told = element("span");
    const doubt = element("div", { className: "doubt" });
    const button = element("button", { className: "field", title: line.name },
      picture, element("div", { className: "line" }, title, told), doubt);
    button.addEventListener("click", () => { button.blur(); open(line.number); });
    known = { button, told, doubt, picture };
    lines.set(line.number, known);
  }
  known.told.textContent = line.done ? `${line.cells} ✓` : line.touched ? `${line.cells} ·` : line.cells;
  known.doubt.title = `doubt ${line.doubt}`;
  known.doubt.style.width = `${line.done ? 0 : 100 * line.doubt / most}%`;
  known.button.classList.toggle("done", line.done);
}

function markCurrent() {
  for (const [number, { button }] of lines) button.classList.toggle("current", number === field?.number);
  if (field && shownNumber !== field.number) lines.get(field.number)?.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  shownNumber = field?.number;
  const done = queue.filter(line => line.done).length;
  $("position").textContent = `${done} of ${queue.length} done`;
}

function tellState() {
  $("name").textContent = field.name;
  $("undo").disabled = !field.can_undo;
  $("redo").disabled = !field.can_redo;
  $("done").textContent = field.done ? "Open again" : "Done";
  $("wait").hidden = !(field.waits || field.failure);
  $("wait").textContent = field.failure ? `The model could not search it: ${field.failure}` : "The model has not searched it yet ...";
}

function tellClasses() {
  $("classes").replaceChildren(...set.classes.map((name, i) => {
    const dot = element("span", { className: "dot" });
    dot.style.background = set.colours[i];
    const button = element("button", {}, dot, name, element("kbd", { textContent: i < 9 ? i + 1 : "" }));
    button.setAttribute("aria-pressed", label === i + 1);
    button.addEventListener("click", () => { button.blur(); nameIt(i + 1); });
    return button;
  }));
}

let countsDue = 0;
function counts() {
  clearTimeout(countsDue);
  countsDue = setTimeout(async () => {
    const number = field.number;
    let tables;
    try { tables = await get(`api/counts/${number}`); } catch (error) { return tell(error); }
    if (number === field.number) $("counts").replaceChildren(...tables.map(countTable));
  }, 150);
}

const percent = share => (100 * share).toFixed(share > .1 && share < .9 ? 0 : 1);

function countTable({ of, cells, rows }) {
  const table = element("table", {}, element("caption", { textContent: `${of}: ${cells} cells` }));
  for (const [name, count, share, low, high] of rows) {
    const told = share === undefined ? "" : `${percent(share)} % (${percent(low)}-${percent(high)})`;
    table.append(element("tr", {}, element("td", { textContent: name }), element("td", { textContent: count }),
      element("td", { textContent: told, title: "share of the cells, with its 95 % interval of counting" })));
  }
  return table;
}

async function train() {
  try { await post("api/train", {}); training(); } catch (error) { tell(error); }
}

async function training() {
  let told;
  try { told = await get("api/train"); } catch { return; }
  const said = [];
  if (told.state === "running") {
    const loss = told.loss === null ? "" : `, loss ${told.loss.toFixed(3)}`;
    said.push(element("progress", { max: told.steps || 1, value: told.step }),
      element("p", { textContent: `step ${told.step} of ${told.steps} on ${told.fields} fields${loss}` }));
  }
  if (told.state === "finished") said.push(element("p", { textContent: `trained on ${told.fields} fields` }));
  if (told.message) said.push(element("p", { textContent: told.message }));
  if (told.loading) said.push(element("p", { textContent: "loading the model" }));
  if (told.waiting) said.push(element("p", { textContent: `searching ${told.waiting} fields` }));
  if (told.scores.length) said.push(scoreTable(told.scores));
  if (!said.length) said.push(element("p", { className: "faint", textContent: set.model ? "Mark fields as done, then train on them." : "no model" }));
  $("training").replaceChildren(...said);
  $("train").disabled = told.state === "running" || !told.models;
}

function scoreTable(scores) {
  const table = element("table", {}, element("caption", { textContent: "found as corrected, by model" }));
  for (const { model, fields, f1 } of scores)
    table.append(element("tr", {}, element("td", { textContent: model ? `trained ${model}` : "first" }),
      element("td", { textContent: f1 === null ? "n/a" : `F1 ${(100 * f1).toFixed(0)}` }), element("td", { textContent: `${fields} fields` })));
  return table;
}

let toldLast = 0;
function tell(what) {
  const wrong = what instanceof Error;
  if (wrong && !(what instanceof Refusal)) console.error(what);
  $("said").textContent = wrong ? what.message : what;
  $("said").className = wrong ? "shown wrong" : "shown";
  clearTimeout(toldLast);
  toldLast = setTimeout(() => $("said").classList.remove("shown"), wrong ? 6000 : 1800);
}

// ------------------------------------------------------------------------------------------------------------ the start

async function begin() {
  set = await get("api/set");
  $("look").append(...set.looks.map(name => new Option({ none: "as it is", eff: "EFF", clahe: "CLAHE", he: "HE", dhe: "DHE" }[name], name)));
  $("saved").textContent = `Every correction is kept in ${set.folder} at once, as ${set.reviewer}'s.`;
  $("key-list").append(...KEYS.map(([keys, does]) => element("tr", {}, element("td", {}, element("kbd", { textContent: keys })), element("td", { textContent: does }))));
  const buttons = { undo: () => act({ action: "undo" }), redo: () => act({ action: "redo" }), draw: () => draw(!drawing),
    done: finish, next, help: () => $("keys").showModal(), train };
  for (const [id, run] of Object.entries(buttons)) $(id).addEventListener("click", () => { $(id).blur(); run(); });
  $("look").addEventListener("change", () => { $("look").blur(); look(0); });
  tellClasses();
  await refresh();
  await open(queue[0].number);
  training();
  setInterval(refresh, EVERY);
  setInterval(training, EVERY);
}

begin().catch(tell);
Object.assign(window, { review: { times, view, idle: () => waiting, field: () => field, open } }); // for tests
