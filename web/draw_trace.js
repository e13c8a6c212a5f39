/**
 * The picture of a SCOPE trace: chunks from top to bottom, iterations from left to right.
 *
 * @typedef {import("./trace.js").Grid} Grid
 * @typedef {import("./trace.js").Trace} Trace
 *
 * @typedef {object} Theme
 * @property {string} background
 * @property {string} text
 * @property {string} muted
 * @property {string[]} fills By LOOK.
 * @property {string} onPredict Hatch lines.
 * @property {string} onCache Dots.
 *
 * @typedef {object} Geometry CSS pixels.
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} columns
 * @property {number} rows
 */

import { CanvasBrush, SvgBrush, textWidth } from "./brush.js";
import { LOOK, frameRange, gridOf, headlineOf, intervalsOf, segmentRange } from "./trace.js";

const LABELS_WIDTH = 54;
const HEADER_HEIGHT = 17;
const FOOTER_HEIGHT = 17;
const RIGHT_MARGIN = 6;
const CAPTION_HEIGHT = 70;
const TALLEST_ROW = 30;
const SMALLEST_LABELLED_HEIGHT = 76;
const SMALLEST_GAPPED_CELL = 6;
const TICK_STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000];

/** What stands out most from the background took the most work; all three modes differ in lightness, not only in hue. */
export const LIGHT_THEME = Object.freeze({
  background: "#f5f5f5",
  text: "#222222",
  muted: "#555555",
  fills: ["transparent", "#00000009", "#00000018", "#00000038", "#12365f", "#e39331", "#b3d9f2"],
  onPredict: "#8f5306",
  onCache: "#4283ab",
});

export const DARK_THEME = Object.freeze({
  background: "#353535",
  text: "#eeeeee",
  muted: "#b0b0b0",
  fills: ["transparent", "#ffffff0a", "#ffffff1c", "#ffffff40", "#e4f0ff", "#e8962e", "#2c6a9b"],
  onPredict: "#8a4f05",
  onCache: "#a5d2f2",
});

const INTERVAL = "interval";

/** What is drawn, its name, and what it means. */
export const LEGEND = Object.freeze([
  [LOOK.recompute, "Recompute", "The model computed the velocity"],
  [LOOK.predict, "Predict", "The velocity was predicted from earlier ones"],
  [LOOK.cache, "Cache", "An earlier velocity was used again"],
  [INTERVAL, "Active interval", "What goes through the model when an iteration is computed"],
  [LOOK.context, "Context", "Went through the model and took no step"],
  [LOOK.done, "Finished", "All steps are done"],
  [LOOK.waiting, "Waiting", "Not started"],
]);

/**
 * Draw a trace into a canvas, which takes the given size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Trace|Grid} source
 * @param {{width: number, height: number, pixelRatio?: number, theme?: Theme, compact?: boolean}} options Size in CSS
 *   pixels; `compact` leaves out the labels where they would leave little room for the cells.
 * @returns {Geometry} Where the cells are.
 */
export function drawTrace(canvas, source, { width, height, pixelRatio = 1, theme = LIGHT_THEME, compact = false }) {
  const grid = "looks" in source ? source : gridOf(source);
  const labelled = !compact || height >= SMALLEST_LABELLED_HEIGHT;
  return drawGrid(new CanvasBrush(canvas, { width, height, pixelRatio, theme }), grid, { width, height, labelled });
}

/**
 * A picture that stands alone: the run, its numbers and the legend above the cells.
 *
 * @param {Grid} grid
 * @param {{width: number, tallest: number, theme?: Theme}} options
 * @returns {SVGElement}
 */
export function svgOf(grid, { width, tallest, theme = LIGHT_THEME }) {
  const height = Math.min(tallest, CAPTION_HEIGHT + HEADER_HEIGHT + grid.rows * TALLEST_ROW + FOOTER_HEIGHT);
  const brush = new SvgBrush({ width, height, theme });
  drawGrid(brush, grid, { width, height, top: CAPTION_HEIGHT });
  drawCaption(brush, grid.trace);
  return brush.picture;
}

function drawGrid(brush, grid, { width, height, top = 0, labelled = true }) {
  const bare = { x: 0, y: 0, width, height, columns: grid.columns, rows: grid.rows };
  const geometry = labelled ? geometryOf(grid, width, height, top) : bare;
  brush.fill([0, 0, width, height], brush.theme.background);
  if (grid.columns > 0) {
    brush.cells(grid, geometry);
    drawGaps(brush, geometry);
    drawIntervals(brush, grid, geometry);
    drawSegmentBorders(brush, grid, geometry);
  }
  if (grid.columns > 0 && labelled) {
    drawChunkLabels(brush, grid, geometry);
    drawIterationLabels(brush, geometry);
  }
  return geometry;
}

/** @returns {{column: number, unit: number}|null} The cell at a point, in CSS pixels of the canvas. */
export function cellAtPoint({ x, y, width, height, columns, rows }, pointX, pointY) {
  const column = Math.floor(((pointX - x) / width) * columns);
  const unit = Math.floor(((pointY - y) / height) * rows);
  return column >= 0 && column < columns && unit >= 0 && unit < rows ? { column, unit } : null;
}

/** Fill a small canvas with an example of one entry of the legend. */
export function drawSwatch(canvas, entry, theme, { width, height, pixelRatio }) {
  drawExample(new CanvasBrush(canvas, { width, height, pixelRatio, theme }), entry, [0, 0, width, height]);
}

function drawExample(brush, entry, [x, y, width, height]) {
  if (entry === INTERVAL) outline(brush, `M${x + 2} ${y + 2}h${width - 4}v${height - 4}h${4 - width}z`);
  else brush.fillLook([x, y, width, height], entry);
}

/** Colours that fit an element of the page, whatever palette the user chose. */
export function themeOf(element) {
  const style = getComputedStyle(element);
  const base = isDark(style.backgroundColor) ? DARK_THEME : LIGHT_THEME;
  return {
    ...base,
    background: style.backgroundColor,
    text: style.color,
    muted: style.getPropertyValue("--descrip-text").trim() || base.muted,
  };
}

function isDark(color) {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}

function geometryOf(grid, width, height, top) {
  const room = Math.max(1, height - top - HEADER_HEIGHT - FOOTER_HEIGHT);
  return {
    x: LABELS_WIDTH,
    y: top + HEADER_HEIGHT,
    width: Math.max(1, width - LABELS_WIDTH - RIGHT_MARGIN),
    height: Math.min(room, grid.rows * TALLEST_ROW),
    columns: grid.columns,
    rows: grid.rows,
  };
}

/** Where a cell is: x, y, width and height. */
export function cellBox({ x, y, width, height, columns, rows }, column, unit) {
  return [x + (column * width) / columns, y + (unit * height) / rows, width / columns, height / rows];
}

function drawGaps(brush, { x, y, width, height, columns, rows }) {
  const { background } = brush.theme;
  if (width / columns >= SMALLEST_GAPPED_CELL) {
    for (let column = 1; column < columns; column++) brush.fill([x + (column * width) / columns - 0.5, y, 1, height], background);
  }
  if (height / rows >= SMALLEST_GAPPED_CELL) {
    for (let unit = 1; unit < rows; unit++) brush.fill([x, y + (unit * height) / rows - 0.5, width, 1], background);
  }
}

function drawIntervals(brush, grid, geometry) {
  outline(brush, grid.places.map((place) => intervalPath(place, geometry)).join(""));
}

function outline(brush, path) {
  brush.stroke(path, brush.theme.background, 4);
  brush.stroke(path, brush.theme.text, 1.5);
}

/** Around what goes through the model, iteration after iteration. */
function intervalPath({ segment, first }, geometry) {
  const x = (iteration) => geometry.x + ((first + iteration) * geometry.width) / geometry.columns;
  const y = (row) => geometry.y + (row * geometry.height) / geometry.rows;
  const spans = intervalsOf(segment);
  const along = (spans, edge) => spans.map(({ from, to, rows }) => [[x(from), y(rows[edge])], [x(to), y(rows[edge])]]);
  const corners = [...along(spans, 0).flat(), ...along(spans, 1).flat().reverse()];
  return corners.length ? `M${corners.map((corner) => corner.map((length) => length.toFixed(2)).join(" ")).join("L")}z` : "";
}

function drawChunkLabels(brush, grid, geometry) {
  const { muted, text } = brush.theme;
  const single = grid.places.length === 1 ? grid.places[0].segment : null;
  const labelX = geometry.x - 5;
  brush.text(single ? "frames" : "chunk", labelX, geometry.y - 8, muted, { align: "right" });
  const every = Math.ceil(11 / (geometry.height / grid.rows));
  for (let unit = 0; unit < grid.rows; unit += every) {
    const [, y, , h] = cellBox(geometry, 0, unit);
    brush.text(single ? frameRange(single, unit) : `${unit + 1}`, labelX, y + h / 2, text, { align: "right" });
  }
}

function drawIterationLabels(brush, geometry) {
  const { muted, text } = brush.theme;
  const y = geometry.y + geometry.height + 9;
  brush.text("iteration", geometry.x - 5, y, muted, { align: "right" });
  const cellWidth = geometry.width / geometry.columns;
  const every = TICK_STEPS.find((step) => step * cellWidth >= 36) ?? geometry.columns;
  let free = geometry.x;
  for (const tick of [1, ...multiples(every, geometry.columns)]) {
    const width = textWidth(`${tick}`);
    const centre = geometry.x + (tick - 0.5) * cellWidth;
    const left = Math.min(Math.max(centre - width / 2, geometry.x), geometry.x + geometry.width - width);
    if (left < free) continue;
    brush.text(`${tick}`, left, y, text);
    free = left + width + 8;
  }
}

function multiples(step, limit) {
  return Array.from({ length: Math.floor(limit / step) }, (_, index) => (index + 1) * step);
}

function drawSegmentBorders(brush, grid, geometry) {
  if (grid.places.length < 2) return;
  const { text } = brush.theme;
  for (const { segment, first, count } of grid.places) {
    const [x] = cellBox(geometry, first, 0);
    const room = (count * geometry.width) / grid.columns - 8;
    const number = `${segment.index + 1}`;
    const labels = [`segment ${number}, frames ${segmentRange(segment)}`, `segment ${number}`, number];
    const label = labels.find((text) => textWidth(text) <= room);
    if (label) brush.text(label, x + 4, geometry.y - 8, text);
    brush.fill([x - 0.5, geometry.y - 14, 1, geometry.height + 14], text);
  }
}

function drawCaption(brush, trace) {
  const { model, method, preset } = trace.run ?? {};
  const { evaluations, time, note } = headlineOf(trace);
  const { text } = brush.theme;
  brush.text([model, method, preset].filter(Boolean).join(" · ") || "SCOPE", 12, 18, text, { size: 15, weight: "bold" });
  brush.text([evaluations, time, note].filter(Boolean).join("   |   "), 12, 38, text, { size: 12 });
  let x = 12;
  for (const [entry, label] of LEGEND) {
    drawExample(brush, entry, [x, 52, 18, 12]);
    brush.text(label, x + 23, 58, text, { size: 12 });
    x += 39 + textWidth(label, 12);
  }
}
