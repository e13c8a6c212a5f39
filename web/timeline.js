/**
 * The timeline widget: numbers, legend, heat-map and a line that explains the cell under the pointer.
 *
 * @typedef {import("./trace.js").Trace} Trace
 */

import { LEGEND, captionedHeight, cellAtPoint, drawCursor, drawSwatch, drawTrace, themeOf } from "./draw_trace.js";
import { LOOK, TraceError, applyStep, cellAt, countLooks, describeCell, gridOf, headlineOf, parseTrace } from "./trace.js";

export { drawTrace } from "./draw_trace.js";

const EMPTY_TEXT = "Run the workflow to see which steps were computed, predicted or reused, and why.";
const HINT = "Point at a cell, or use the arrow keys, to see what happened there and why. Click or press Enter to hold a cell, Escape to let go.";
const EXPORT_SIZE = { width: 1280, tallest: 480, pixelRatio: 2 };
const SWATCH_SIZE = { width: 16, height: 11 };
const ZOOM_HEADROOM = 2;

export class Timeline {
  /** @type {Trace|null} */
  trace = null;
  grid = null;
  geometry = null;
  cell = null;
  pinned = false;
  frameRequest = 0;

  constructor() {
    this.build();
    this.listen();
    this.resizeObserver = new ResizeObserver(() => this.requestDraw());
    this.themeObserver = new MutationObserver(() => this.requestDraw());
    this.refresh();
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.resizeObserver.observe(this.plot);
    for (const element of [document.documentElement, document.body]) {
      this.themeObserver.observe(element, { attributeFilter: ["class", "style"] });
    }
  }

  disconnect() {
    this.resizeObserver.disconnect();
    this.themeObserver.disconnect();
  }

  /** @param {unknown} payload A trace or its JSON text. */
  show(payload) {
    try {
      this.trace = parseTrace(payload);
      this.refresh();
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      this.trace = null;
      this.refresh(error.message);
    }
  }

  /** @param {import("./trace.js").StepEvent} event */
  follow(event) {
    const before = this.trace;
    this.trace = applyStep(this.trace, event);
    if (this.trace !== before) this.release();
    this.refresh();
  }

  build() {
    this.evaluations = create("span", "scope-timeline-evaluations");
    this.time = create("span", "scope-timeline-time");
    this.note = create("span", "scope-timeline-note");
    const headline = create("div", "scope-timeline-headline", [this.evaluations, this.time, this.note]);
    const buttons = create("div", "scope-timeline-buttons", [
      button("PNG", "Save the picture", () => this.savePng()),
      button("JSON", "Save the trace", () => this.saveJson()),
    ]);
    this.top = create("div", "scope-timeline-top", [headline, buttons]);
    this.legend = create("div", "scope-timeline-legend", LEGEND.map(legendEntry));

    this.canvas = create("canvas");
    this.overlay = create("canvas");
    this.plot = create("div", "scope-timeline-plot", [this.canvas, this.overlay]);
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "application");
    this.plot.setAttribute("aria-label", "Timeline of iterations and chunks. Move with the arrow keys.");

    this.details = create("div", "scope-timeline-details");
    this.details.setAttribute("role", "status");
    this.details.setAttribute("aria-live", "polite");
    this.empty = create("div", "scope-timeline-empty");

    const body = create("div", "scope-timeline-body", [this.top, this.legend, this.plot, this.details, this.empty]);
    this.element = create("div", "scope-timeline", [body]);
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => {
      if (!this.pinned) this.select(this.positionOf(event));
    });
    this.plot.addEventListener("pointerleave", () => {
      if (!this.pinned && document.activeElement !== this.plot) this.select(null);
    });
    this.plot.addEventListener("click", (event) => this.pin(this.positionOf(event)));
    this.plot.addEventListener("focus", () => {
      if (!this.cell && this.plot.matches(":focus-visible")) this.select({ column: 0, unit: 0 });
    });
    this.plot.addEventListener("blur", () => {
      if (!this.pinned) this.select(null);
    });
    this.plot.addEventListener("keydown", (event) => {
      if (!this.handleKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  handleKey({ key, shiftKey, ctrlKey, metaKey, altKey }) {
    if (!this.grid?.columns || ctrlKey || metaKey || altKey) return false;
    const { column, unit } = this.cell ?? { column: 0, unit: 0 };
    const stride = shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: [column - stride, unit],
      ArrowRight: [column + stride, unit],
      ArrowUp: [column, unit - 1],
      ArrowDown: [column, unit + 1],
      Home: [0, unit],
      End: [this.grid.columns - 1, unit],
    };
    if (key in moves) this.moveTo(...moves[key]);
    else if (key === "Enter" || key === " ") this.pin({ column, unit });
    else if (key === "Escape" && this.cell) this.release();
    else return false;
    return true;
  }

  moveTo(column, unit) {
    const lastColumn = this.grid.columns - 1;
    const target = Math.min(Math.max(column, 0), lastColumn);
    const { segment } = this.grid.places.find(({ first, count }) => target < first + count);
    this.select({ column: target, unit: Math.min(Math.max(unit, 0), segment.units.length - 1) });
  }

  /** Hold a cell, or let go of the one that is held. */
  pin(position) {
    const same = position && this.cell?.column === position.column && this.cell.unit === position.unit;
    this.pinned = Boolean(position) && !(this.pinned && same);
    this.select(position);
  }

  release() {
    this.pinned = false;
    this.select(null);
  }

  select(position) {
    this.cell = position && this.grid ? cellAt(this.grid, position.column, position.unit) : null;
    this.pinned &&= this.cell !== null;
    this.showDetails();
    this.drawOverlay();
  }

  positionOf(event) {
    if (!this.geometry) return null;
    const box = this.plot.getBoundingClientRect();
    const scale = this.plot.clientWidth / box.width;
    return cellAtPoint(this.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  }

  refresh(problem = "") {
    this.grid = this.trace && gridOf(this.trace);
    const hasCells = Boolean(this.grid?.columns);
    for (const part of [this.top, this.legend, this.plot, this.details]) part.hidden = !hasCells;
    this.empty.hidden = hasCells;
    this.empty.textContent = problem || EMPTY_TEXT;
    if (hasCells) this.showNumbers();
    this.select(this.cell);
    this.requestDraw();
  }

  showNumbers() {
    const { evaluations, frames, time, note } = headlineOf(this.trace);
    setText(this.evaluations, evaluations);
    this.evaluations.title = frames;
    setText(this.time, time);
    setText(this.note, note);
    const counts = countLooks(this.grid);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    for (const entry of this.legend.children) {
      const count = counts[entry.dataset.look];
      entry.title = count === undefined ? "" : `${count} of ${total} chunk steps`;
      const share = count === undefined || !total ? "" : ` ${Math.round((100 * count) / total)}%`;
      setText(entry.lastChild, entry.dataset.label + share);
    }
  }

  showDetails() {
    const lines = this.cell ? describeCell(this.grid, this.cell) : [HINT];
    if (this.pinned) lines[0] = `Held. ${lines[0]}`;
    setText(this.details, lines.join("\n"));
  }

  /** Draw once per screen frame, however many events arrive. */
  requestDraw() {
    this.frameRequest ||= requestAnimationFrame(() => {
      this.frameRequest = 0;
      this.draw();
    });
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!this.grid?.columns || !width || !height) return;
    this.size = { width, height, pixelRatio: Math.max(devicePixelRatio, ZOOM_HEADROOM) };
    this.theme = themeOf(this.element);
    this.geometry = drawTrace(this.canvas, this.grid, { ...this.size, theme: this.theme });
    for (const entry of this.legend.children) {
      const options = { ...SWATCH_SIZE, pixelRatio: this.size.pixelRatio };
      drawSwatch(entry.firstChild, Number(entry.dataset.look), this.theme, options);
    }
    this.drawOverlay();
  }

  drawOverlay() {
    if (!this.geometry) return;
    drawCursor(this.overlay, this.geometry, this.cell, { ...this.size, theme: this.theme, pinned: this.pinned });
  }

  savePng() {
    const canvas = create("canvas");
    const { width, tallest, pixelRatio } = EXPORT_SIZE;
    const height = captionedHeight(this.grid, tallest);
    drawTrace(canvas, this.grid, { width, height, pixelRatio, theme: this.theme, caption: true });
    canvas.toBlob((blob) => download(blob, "scope_timeline.png"), "image/png");
  }

  saveJson() {
    download(new Blob([JSON.stringify(this.trace)], { type: "application/json" }), "scope_trace.json");
  }
}

function create(tag, className = "", children = []) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

function button(label, title, onClick) {
  const element = create("button", "", [label]);
  element.type = "button";
  element.title = title;
  element.addEventListener("click", onClick);
  return element;
}

function legendEntry([look, label]) {
  const className = look < LOOK.recompute ? "scope-timeline-idle" : "";
  const entry = create("span", className, [create("canvas"), create("span", "", [label])]);
  entry.dataset.look = String(look);
  entry.dataset.label = label;
  return entry;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function download(blob, name) {
  const link = create("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
