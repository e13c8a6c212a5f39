/**
 * A trace drawn into an element, with a cursor on its cells and a legend.
 *
 * @typedef {import("./grid.js").Cell} Cell
 * @typedef {import("./grid.js").Grid} Grid
 */

import { clamp } from "../lib/clamp.js";
import { create } from "../lib/elements.js";
import { LookObserver } from "../lib/look_observer.js";
import { PlotCursor, plotElement } from "../lib/plot_cursor.js";
import { themeOf } from "../lib/theme.js";
import { drawTrace } from "./draw_trace.js";
import { cellAt } from "./grid.js";
import { LegendRow } from "./legend_row.js";
import { cellArea, cellAtPoint } from "./plot_geometry.js";

const MOST_PIXELS = 1.5e6;
const SMALLEST_MARK = 6;

export class TracePlot {
  /** @type {Grid|null} */
  grid = null;
  /** @type {import("./plot_geometry.js").Geometry|null} */
  geometry = null;
  /** @type {import("../lib/theme.js").Theme|null} Null until it is read anew. */
  theme = null;
  /** At which the picture was drawn. */
  pixelRatio = 0;
  legend = new LegendRow();
  canvas = create("canvas");
  columnBand = create("div", "scope-plot-band");
  rowBand = create("div", "scope-plot-band");
  mark = create("div", "scope-plot-mark");

  /**
   * @param {object} options
   * @param {string} options.label
   * @param {() => void} options.onMove The cursor moved, or began or ended to hold a cell.
   */
  constructor({ label, onMove }) {
    this.element = plotElement("scope-plot", label, [this.canvas, this.columnBand, this.rowBand, this.mark]);
    /** @type {PlotCursor<Cell>} */
    this.cursor = new PlotCursor(this.element, {
      at: (x, y) => {
        const position = this.geometry && cellAtPoint(this.geometry, x, y);
        return position && this.cellAt(position.column, position.unit);
      },
      next: (key, cell, stride) => this.cellBeside(cell, key, stride),
      first: () => this.cellAt(0, 0),
      isSame: (a, b) => a.column === b.column && a.unit === b.unit,
      onMove: () => {
        onMove();
        this.showCursor();
      },
    });
    this.look = new LookObserver(this.element, () => this.draw(), () => (this.theme = null));
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.look.connect();
  }

  disconnect() {
    this.look.disconnect();
  }

  /** Another picture; the cursor stays where it is. @param {Grid|null} grid */
  show(grid) {
    this.grid = grid;
    const cell = this.cursor.place;
    this.cursor.move(cell && this.cellAt(cell.column, cell.unit));
    this.draw();
  }

  /** @param {number} column @param {number} unit */
  cellAt(column, unit) {
    return this.grid && cellAt(this.grid, column, unit);
  }

  /** Stops at the edges. @param {Cell|null} cell @param {string} key @param {number} stride */
  cellBeside(cell, key, stride) {
    if (!this.grid?.columns) return null;
    const { column, unit } = cell ?? { column: 0, unit: 0 };
    const last = this.grid.columns - 1;
    /** @type {Record<string, [column: number, unit: number]>} */
    const moves = {
      ArrowLeft: [column - stride, unit],
      ArrowRight: [column + stride, unit],
      ArrowUp: [column, unit - 1],
      ArrowDown: [column, unit + 1],
      Home: [0, unit],
      End: [last, unit],
    };
    if (!(key in moves)) return null;
    const target = clamp(moves[key][0], 0, last);
    const units = this.grid.places.find(({ first, count }) => target < first + count)?.segment.units.length ?? 1;
    return this.cellAt(target, clamp(moves[key][1], 0, units - 1));
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!this.grid?.columns || !width || !height) return;
    this.pixelRatio = this.screenRatio();
    this.geometry = drawTrace(this.canvas, this.grid, { width, height, pixelRatio: this.pixelRatio, theme: this.knownTheme() });
    this.showCursor();
  }

  /** The graph is seen at another zoom. */
  zoom() {
    if (this.element.clientWidth && this.screenRatio() !== this.pixelRatio) this.draw();
  }

  /** Pixels of the screen to one of the element, at the zoom that the graph is seen at: small print is legible at no other. */
  screenRatio() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const zoom = this.element.getBoundingClientRect().width / width;
    return Math.min(devicePixelRatio * zoom, Math.sqrt(MOST_PIXELS / (width * height)));
  }

  knownTheme() {
    if (!this.theme) {
      this.theme = themeOf(this.element.closest(".scope-panel") ?? this.element);
      this.legend.draw(this.theme);
    }
    return this.theme;
  }

  /** Mark the cell, its column and its row. */
  showCursor() {
    const { geometry } = this;
    const { place: cell, isHeld } = this.cursor;
    for (const element of [this.columnBand, this.rowBand, this.mark]) element.hidden = !cell || !geometry;
    if (!cell || !geometry) return;
    const [left, top, width, height] = cellArea(geometry, cell.column, cell.unit);
    const [growX, growY] = [width, height].map((length) => Math.max(1, (SMALLEST_MARK - length) / 2));
    lay(this.columnBand, left, geometry.y, width, geometry.height);
    lay(this.rowBand, geometry.x, top, geometry.width, height);
    lay(this.mark, left - growX, top - growY, width + 2 * growX, height + 2 * growY);
    this.mark.classList.toggle("scope-plot-held", isHeld);
  }
}

/** @param {HTMLElement} element @param {number} left @param {number} top @param {number} width @param {number} height */
function lay(element, left, top, width, height) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}
