// Cells of a field for drawing and for finding them under the pointer; coordinates are image pixels.

const SQUARE = 64;

// The points of an answer, taken in the order of its cells: base64 of 32-bit integers, in hundredths of a pixel.
export class Points {
  constructor(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    this.values = Float64Array.from(new Int32Array(bytes.buffer));
    for (let i = 0; i < this.values.length; i++) this.values[i] /= 100;
    this.taken = 0;
  }

  take(sizes) { // the parts of a cell with so many points, each as x, y, x, y, ...
    return sizes.map(size => {
      const from = this.taken;
      this.taken += 2 * size;
      return this.values.subarray(from, this.taken);
    });
  }
}

export function drawable(plain, parts) {
  const path = new Path2D();
  let x1 = Infinity, y1 = Infinity, x2 = -Infinity, y2 = -Infinity;
  for (const part of parts) {
    path.moveTo(part[0], part[1]);
    for (let i = 0; i < part.length; i += 2) {
      const x = part[i], y = part[i + 1];
      if (i) path.lineTo(x, y);
      if (x < x1) x1 = x;
      if (x > x2) x2 = x;
      if (y < y1) y1 = y;
      if (y > y2) y2 = y;
    }
    path.closePath();
  }
  return { ...plain, parts, path, box: [x1, y1, x2, y2], boxOnly: plain.box === true };
}

// Where things lie: each is listed in every square that its box meets.
export class Grid {
  constructor() { this.squares = new Map(); }

  add(thing) { this.#each(thing.box, key => {
    if (!this.squares.has(key)) this.squares.set(key, new Set());
    this.squares.get(key).add(thing);
  }); }

  remove(thing) { this.#each(thing.box, key => this.squares.get(key)?.delete(thing)); }

  meeting(box) {
    const found = new Set();
    this.#each(box, key => this.squares.get(key)?.forEach(thing => { if (meet(thing.box, box)) found.add(thing); }));
    return found;
  }

  #each([x1, y1, x2, y2], visit) {
    for (let column = Math.floor(x1 / SQUARE); column <= Math.floor(x2 / SQUARE); column++)
      for (let row = Math.floor(y1 / SQUARE); row <= Math.floor(y2 / SQUARE); row++) visit(column * 65536 + row);
  }
}

const probe = document.createElement("canvas").getContext("2d");

// The smallest of the grid's things at a place.
export function at(grid, x, y) {
  let best = null;
  for (const thing of grid.meeting([x, y, x, y]))
    if ((!best || area(thing.box) < area(best.box)) && probe.isPointInPath(thing.path, x, y, "nonzero")) best = thing;
  return best;
}

// Whether a candidate is a cell that is there already, or a piece of one.
export function known(candidate, cells) {
  for (const cell of cells.meeting(candidate.box)) {
    const shared = overlap(candidate.box, cell.box);
    if (shared > .7 * area(candidate.box) || shared > .4 * (area(candidate.box) + area(cell.box) - shared)) return true;
  }
  return false;
}

// The point of a cell's outline within `reach` of a place, or the middle of a side, where a new point is put.
export function grip(cell, x, y, reach) {
  const corners = cell.parts.map(pairs);
  let best = null, least = reach;
  corners.forEach((points, part) => points.forEach(([px, py], index) => {
    const distance = Math.hypot(px - x, py - y);
    if (distance < least) { least = distance; best = { part, index, fresh: false }; }
  }));
  if (best) return best;
  corners.forEach((points, part) => points.forEach((from, index) => {
    const distance = toSide(from, points[(index + 1) % points.length], x, y);
    if (distance < least) { least = distance; best = { part, index: index + 1, fresh: true }; }
  }));
  return best;
}

// The points [x, y] of a part.
export function pairs(part) {
  return Array.from({ length: part.length / 2 }, (_, i) => [part[2 * i], part[2 * i + 1]]);
}

function toSide([x1, y1], [x2, y2], x, y) {
  const length = (x2 - x1) ** 2 + (y2 - y1) ** 2;
  const along = length ? Math.min(1, Math.max(0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length)) : 0;
  return Math.hypot(x1 + along * (x2 - x1) - x, y1 + along * (y2 - y1) - y);
}

const meet = (a, b) => a[0] <= b[2] && a[2] >= b[0] && a[1] <= b[3] && a[3] >= b[1];
const area = box => (box[2] - box[0]) * (box[3] - box[1]);
const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
