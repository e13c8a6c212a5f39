/**
 * A trace drawn into an element, with a cursor that the pointer and the arrow keys move.
 *
 * @typedef {import("./trace.js").Grid} Grid
 * @typedef {import("./trace.js").Cell} Cell
 */

import { cellAtPoint, cellBox, drawTrace, themeOf } from "./draw_trace.js";
import { LookObserver, create } from "./elements.js";
import { cellAt } from "./trace.js";

const ZOOM_HEADROOM = 2;
const MOST_PIXELS = 1.5e6;
const SMALLEST_MARK = 6;

export class TracePlot {
  /** @type {Grid|null} */
  grid = null;
  /** @type {Cell|null} */
  cell = null;
  geometry = null;
  /** @type {import("./draw_trace.js").Theme|null} */
  theme = null;
  pinned = false;

  /**
   * @param {{label: string, compact?: boolean, onSelect: () => void, onTheme?: () => void}} options `onSelect` runs when
   *   `cell` or `pinned` changed, `onTheme` when `theme` did.
   */
  constructor({ label, compact = false, onSelect, onTheme = () => {} }) {
    this.compact = compact;
    this.onSelect = onSelect;
    this.onTheme = onTheme;
    this.canvas = create("canvas");
    this.columnBand = create("div", "scope-plot-band");
    this.rowBand = create("div", "scope-plot-band");
    this.mark = create("div", "scope-plot-mark");
    this.element = create("div", "scope-plot", [this.canvas, this.columnBand, this.rowBand, this.mark]);
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-label", `${label} Move with the arrow keys.`);
    this.listen();
    this.look = new LookObserver(this.element, () => this.draw(), () => (this.theme = null));
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.look.connect();
  }

  disconnect() {
    this.look.disconnect();
  }

  /** @param {Grid|null} grid Another picture; the cursor stays where it is. */
  show(grid) {
    this.grid = grid;
    this.select(this.cell);
    this.draw();
  }

  listen() {
    const { element } = this;
    element.addEventListener("pointermove", (event) => {
      if (!this.pinned) this.select(this.positionOf(event));
    });
    element.addEventListener("pointerleave", () => {
      if (!this.pinned && document.activeElement !== element) this.select(null);
    });
    element.addEventListener("click", (event) => this.pin(this.positionOf(event)));
    element.addEventListener("focus", () => {
      if (!this.cell && element.matches(":focus-visible")) this.select({ column: 0, unit: 0 });
    });
    element.addEventListener("blur", () => {
      if (!this.pinned) this.select(null);
    });
    element.addEventListener("keydown", (event) => {
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
    const target = Math.min(Math.max(column, 0), this.grid.columns - 1);
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
    this.onSelect();
    this.showCursor();
  }

  positionOf(event) {
    if (!this.geometry) return null;
    const box = this.element.getBoundingClientRect();
    const scale = this.element.clientWidth / box.width;
    return cellAtPoint(this.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!this.grid?.columns || !width || !height) return;
    if (!this.theme) {
      this.theme = themeOf(this.element.closest(".scope-panel"));
      this.onTheme();
    }
    const headroom = Math.min(ZOOM_HEADROOM, Math.sqrt(MOST_PIXELS / (width * height)));
    const pixelRatio = Math.max(devicePixelRatio, headroom);
    this.geometry = drawTrace(this.canvas, this.grid, { width, height, pixelRatio, theme: this.theme, compact: this.compact });
    this.showCursor();
  }

  /** Mark the cell, its column and its row. */
  showCursor() {
    for (const element of [this.columnBand, this.rowBand, this.mark]) element.hidden = !this.cell || !this.geometry;
    if (this.mark.hidden) return;
    const { x, y, width, height } = this.geometry;
    const [left, top, w, h] = cellBox(this.geometry, this.cell.column, this.cell.unit);
    const [growX, growY] = [w, h].map((length) => Math.max(1, (SMALLEST_MARK - length) / 2));
    place(this.columnBand, [left, y, w, height]);
    place(this.rowBand, [x, top, width, h]);
    place(this.mark, [left - growX, top - growY, w + 2 * growX, h + 2 * growY]);
    this.mark.classList.toggle("scope-plot-held", this.pinned);
  }
}

function place(element, [left, top, width, height]) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}
