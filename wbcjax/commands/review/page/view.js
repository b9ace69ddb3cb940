// What is seen of a field: three canvases, so that a moving pointer redraws neither the image nor the cells.

import { pairs } from "./geometry.js";

const APART = 9; // screen pixels between the handles of a selected outline, at least
const LABELS = 300; // cells in view, up to which their scores are written

export class View {
  constructor(stage) {
    this.stage = stage;
    this.layers = Object.fromEntries(["picture", "cells", "hand"].map(id => [id, document.getElementById(id)]));
    this.dirty = new Set();
    this.scale = 1; this.left = 0; this.top = 0; // screen pixels per image pixel; the image's corner on the stage
    this.scene = null;
    new ResizeObserver(() => this.resize()).observe(stage);
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of Object.values(this.layers)) {
      canvas.width = Math.round(this.stage.clientWidth * ratio);
      canvas.height = Math.round(this.stage.clientHeight * ratio);
    }
    if (this.fitted) this.fit(); else this.redraw();
  }

  fit() {
    if (!this.scene) return;
    const { width, height } = this.scene, w = this.stage.clientWidth, h = this.stage.clientHeight;
    this.scale = .96 * Math.min(w / width, h / height);
    this.left = (w - this.scale * width) / 2; this.top = (h - this.scale * height) / 2;
    this.fitted = true;
    this.redraw();
  }

  zoom(times, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const scale = Math.min(40, Math.max(.02, this.scale * times));
    this.left = x - (x - this.left) * scale / this.scale; this.top = y - (y - this.top) * scale / this.scale;
    this.scale = scale; this.fitted = false;
    this.redraw();
  }

  pan(dx, dy) { this.left += dx; this.top += dy; this.fitted = false; this.redraw(); }

  toImage(x, y) { return [(x - this.left) / this.scale, (y - this.top) / this.scale]; }
  toScreen(x, y) { return [x * this.scale + this.left, y * this.scale + this.top]; }

  show([x1, y1, x2, y2]) { // bring a box into view
    const [left, top] = this.toScreen(x1, y1), [right, bottom] = this.toScreen(x2, y2);
    if (left < 0 || top < 0 || right > this.stage.clientWidth || bottom > this.stage.clientHeight)
      this.pan(this.stage.clientWidth / 2 - (left + right) / 2, this.stage.clientHeight / 2 - (top + bottom) / 2);
  }

  redraw(...layers) {
    if (!this.dirty.size) requestAnimationFrame(() => this.draw());
    for (const layer of layers.length ? layers : Object.keys(this.layers)) this.dirty.add(layer);
  }

  draw() {
    const dirty = [...this.dirty];
    this.dirty.clear();
    if (!this.scene) return;
    for (const layer of dirty) {
      const context = this.layers[layer].getContext("2d"), ratio = window.devicePixelRatio || 1;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, this.layers[layer].width, this.layers[layer].height);
      context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.left, ratio * this.top);
      this[`draw_${layer}`](context);
    }
    this.scene.drawn?.();
  }

  draw_picture(context) {
    const { image, width, height } = this.scene;
    context.imageSmoothingEnabled = this.scale < 4;
    if (image) context.drawImage(image, 0, 0, width, height);
  }

  draw_cells(context) {
    if (this.scene.hidden) return;
    const visible = this.inView(this.scene.grid);
    context.lineJoin = visible.length > LABELS ? "bevel" : "round"; // of thousands, round ones take half as long again
    for (const colour of this.scene.colours) {
      const ofClass = visible.filter(cell => this.colour(cell) === colour);
      if (!ofClass.length) continue;
      context.strokeStyle = "rgba(0, 0, 0, .45)"; context.lineWidth = 3.4 / this.scale;
      for (const cell of ofClass) context.stroke(cell.path);
      context.strokeStyle = colour; context.lineWidth = 1.7 / this.scale;
      for (const cell of ofClass) context.stroke(cell.path);
    }
    if (visible.length <= LABELS) for (const cell of visible) this.score(context, cell);
  }

  inView(grid) {
    const [x1, y1] = this.toImage(0, 0), [x2, y2] = this.toImage(this.stage.clientWidth, this.stage.clientHeight);
    const { width, height } = this.scene;
    return [...grid.meeting([Math.max(x1, 0), Math.max(y1, 0), Math.min(x2, width), Math.min(y2, height)])];
  }

  colour(cell) { return this.scene.colours[(cell.label - 1) % this.scene.colours.length]; }

  score(context, cell, text = cell.score === undefined ? "" : cell.score.toFixed(2)) {
    if (!text || (cell.box[2] - cell.box[0]) * this.scale < 24) return;
    const [x, y] = this.toScreen(cell.box[0], cell.box[1]), ratio = window.devicePixelRatio || 1;
    context.save();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, sans-serif";
    const width = context.measureText(text).width + 6;
    context.fillStyle = "rgba(20, 21, 24, .72)"; context.fillRect(x, y - 14, width, 14);
    context.fillStyle = this.colour(cell); context.fillText(text, x + 3, y - 3);
    context.restore();
  }

  draw_hand(context) {
    const { hovered, selected, ghosts, aimed, stroke, dragged } = this.scene, line = 1 / this.scale;
    context.lineJoin = "round";
    for (const ghost of ghosts) {
      context.setLineDash([5 * line, 4 * line]);
      context.strokeStyle = this.colour(ghost); context.lineWidth = (ghost === aimed ? 2.6 : 1.4) * line;
      context.stroke(ghost.path);
      context.setLineDash([]);
      if (ghost === aimed) {
        context.fillStyle = "rgba(255, 255, 255, .16)"; context.fill(ghost.path);
        this.score(context, ghost, `${ghost.score.toFixed(2)} take`);
      }
    }
    if (hovered && hovered !== selected) {
      context.strokeStyle = this.colour(hovered); context.lineWidth = 3 * line; context.stroke(hovered.path);
    }
    if (selected) this.draw_selected(context, dragged ?? selected, line);
    if (stroke?.length > 1) {
      context.beginPath();
      stroke.forEach(([x, y], i) => i ? context.lineTo(x, y) : context.moveTo(x, y));
      context.strokeStyle = "#fff"; context.lineWidth = 2 * line; context.stroke();
    }
  }

  draw_selected(context, cell, line) {
    context.fillStyle = "rgba(255, 255, 255, .18)"; context.fill(cell.path);
    context.strokeStyle = this.colour(cell); context.lineWidth = 3 * line; context.stroke(cell.path);
    const side = 5 * line;
    context.fillStyle = "#fff"; context.strokeStyle = "#000"; context.lineWidth = line;
    for (const part of cell.parts) for (const [x, y] of spaced(pairs(part), APART * line)) {
      context.fillRect(x - side / 2, y - side / 2, side, side);
      context.strokeRect(x - side / 2, y - side / 2, side, side);
    }
  }
}

function spaced(points, least) { // points that are apart from the last one shown
  let last = null;
  return points.filter(([x, y]) => !last || Math.hypot(x - last[0], y - last[1]) >= least ? (last = [x, y]) : false);
}
