/**
 * The picture of a trace: chunks from top to bottom, iterations from left to right.
 *
 * @typedef {import("../lib/theme.js").Theme} Theme
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./plot_geometry.js").Brush} Brush
 * @typedef {import("./plot_geometry.js").Geometry} Geometry
 */

import { CanvasBrush } from "../lib/canvas_brush.js";
import { clamp } from "../lib/clamp.js";
import { t } from "../lib/language.js";
import { SvgBrush } from "../lib/svg_brush.js";
import { measureText } from "../lib/text_measure.js";
import { LIGHT_THEME } from "../lib/theme.js";
import { tilesOf } from "./cell_tiles.js";
import { frameRange, segmentRange } from "./cell_words.js";
import { intervalsOf } from "./grid.js";
import { headlineOf } from "./headline.js";
import { drawExample, legend, outline } from "./legend.js";
import { cellArea } from "./plot_geometry.js";

const LABELS_WIDTH = 74;
const HEADER_HEIGHT = 17;
const FOOTER_HEIGHT = 17;
const RIGHT_MARGIN = 6;
const LABEL_SIZE = 10;
const CAPTION = { height: 70, margin: 12, titleSize: 15, size: 12 };
const TALLEST_ROW = 40;
const SMALLEST_GAPPED_CELL = 6;
const TICK_STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000];

/**
 * Draw a trace into a canvas, which takes the given size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Grid} grid
 * @param {{width: number, height: number, pixelRatio: number, theme: Theme}} options Size in CSS pixels.
 * @returns {Geometry} Where the cells are.
 */
export function drawTrace(canvas, grid, { width, height, pixelRatio, theme }) {
  const brush = new CanvasBrush(canvas, { width, height, pixelRatio, theme, tiles: tilesOf(theme, cellWidth(width, grid)) });
  return drawLabelledCells(brush, grid, width, height, 0);
}

/**
 * A picture that stands alone: the run, its numbers and the legend above the cells.
 *
 * @param {Grid} grid
 * @param {{width: number, tallest: number, theme?: Theme}} options
 */
export function svgOf(grid, { width, tallest, theme = LIGHT_THEME }) {
  const height = Math.min(tallest, CAPTION.height + HEADER_HEIGHT + grid.rows * TALLEST_ROW + FOOTER_HEIGHT);
  const brush = new SvgBrush({ width, height, theme, tiles: tilesOf(theme, cellWidth(width, grid)) });
  drawLabelledCells(brush, grid, width, height, CAPTION.height);
  drawCaption(brush, grid.trace);
  return brush.picture;
}

/** Of the whole picture, what is left for the cells. @param {number} width */
function plotWidth(width) {
  return Math.max(1, width - LABELS_WIDTH - RIGHT_MARGIN);
}

/** @param {number} width Of the whole picture. @param {Grid} grid */
function cellWidth(width, { columns }) {
  return plotWidth(width) / Math.max(1, columns);
}

/** @param {Brush} brush @param {Grid} grid @param {number} width @param {number} height @param {number} top */
function drawLabelledCells(brush, grid, width, height, top) {
  const room = Math.max(1, height - top - HEADER_HEIGHT - FOOTER_HEIGHT);
  const geometry = drawCells(brush, grid, {
    x: LABELS_WIDTH,
    y: top + HEADER_HEIGHT,
    width: plotWidth(width),
    height: Math.min(room, grid.rows * TALLEST_ROW),
    columns: grid.columns,
    rows: grid.rows,
  });
  if (grid.columns > 0) {
    drawChunkLabels(brush, grid, geometry);
    drawIterationLabels(brush, geometry);
  }
  return geometry;
}

/** @param {Brush} brush @param {Grid} grid @param {Geometry} geometry */
function drawCells(brush, grid, geometry) {
  if (grid.columns > 0) {
    const { looks: kinds, columns, rows } = grid;
    brush.mosaic({ kinds, columns, rows }, [geometry.x, geometry.y, geometry.width, geometry.height]);
    drawGaps(brush, geometry);
    outline(brush, grid.places.map((place) => intervalPath(place, geometry)).join(""));
    drawSegmentBorders(brush, grid, geometry);
  }
  return geometry;
}

/** @param {Brush} brush @param {Geometry} geometry */
function drawGaps(brush, { x, y, width, height, columns, rows }) {
  const { background } = brush.theme;
  if (width / columns >= SMALLEST_GAPPED_CELL) {
    for (let column = 1; column < columns; column++) brush.fill([x + (column * width) / columns - 0.5, y, 1, height], background);
  }
  if (height / rows >= SMALLEST_GAPPED_CELL) {
    for (let unit = 1; unit < rows; unit++) brush.fill([x, y + (unit * height) / rows - 0.5, width, 1], background);
  }
}

/**
 * Around what goes through the model, iteration after iteration.
 *
 * @param {Grid["places"][number]} place
 * @param {Geometry} geometry
 */
function intervalPath({ segment, first }, geometry) {
  const x = (/** @type {number} */ iteration) => geometry.x + ((first + iteration) * geometry.width) / geometry.columns;
  const y = (/** @type {number} */ row) => geometry.y + (row * geometry.height) / geometry.rows;
  const spans = intervalsOf(segment);
  const along = (/** @type {0|1} */ edge) => spans.flatMap(({ from, to, rows }) => [[x(from), y(rows[edge])], [x(to), y(rows[edge])]]);
  const corners = [...along(0), ...along(1).reverse()];
  return corners.length ? `M${corners.map((corner) => corner.map((length) => length.toFixed(2)).join(" ")).join("L")}z` : "";
}

/** @param {Brush} brush @param {Grid} grid @param {Geometry} geometry */
function drawSegmentBorders(brush, grid, geometry) {
  if (grid.places.length < 2) return;
  const { text } = brush.theme;
  for (const { segment, first, count } of grid.places) {
    const [x] = cellArea(geometry, first, 0);
    const room = (count * geometry.width) / grid.columns - 8;
    const number = `${segment.index + 1}`;
    const labels = [t("segment {number}, latent frames {frames}", { number, frames: segmentRange(segment) }), t("segment {number}", { number }), number];
    const label = labels.find((candidate) => measureText(candidate, LABEL_SIZE) <= room);
    if (label) brush.text(label, x + 4, geometry.y - 8, text);
    brush.fill([x - 0.5, geometry.y - 14, 1, geometry.height + 14], text);
  }
}

/** @param {Brush} brush @param {Grid} grid @param {Geometry} geometry */
function drawChunkLabels(brush, grid, geometry) {
  const { muted, text } = brush.theme;
  const single = grid.places.length === 1 ? grid.places[0].segment : null;
  const right = geometry.x - 5;
  const title = single ? t("latent frames") : t("chunk");
  brush.text(title, Math.max(right, measureText(title, LABEL_SIZE) + 2), geometry.y - 8, muted, { align: "right" });
  const every = Math.ceil(11 / (geometry.height / grid.rows));
  for (let unit = 0; unit < grid.rows; unit += every) {
    const [, y, , height] = cellArea(geometry, 0, unit);
    brush.text(single ? frameRange(single, unit) : `${unit + 1}`, right, y + height / 2, text, { align: "right" });
  }
}

/** @param {Brush} brush @param {Geometry} geometry */
function drawIterationLabels(brush, geometry) {
  const { muted, text } = brush.theme;
  const y = geometry.y + geometry.height + 9;
  brush.text(t("iteration"), geometry.x - 5, y, muted, { align: "right" });
  const cellWidth = geometry.width / geometry.columns;
  const every = TICK_STEPS.find((step) => step * cellWidth >= 36) ?? geometry.columns;
  let free = geometry.x;
  for (const tick of [1, ...multiples(every, geometry.columns)]) {
    const width = measureText(`${tick}`, LABEL_SIZE);
    const centre = geometry.x + (tick - 0.5) * cellWidth;
    const left = clamp(centre - width / 2, geometry.x, geometry.x + geometry.width - width);
    if (left < free) continue;
    brush.text(`${tick}`, left, y, text);
    free = left + width + 8;
  }
}

/** @param {number} step @param {number} limit */
function multiples(step, limit) {
  return Array.from({ length: Math.floor(limit / step) }, (_, index) => (index + 1) * step);
}

/** @param {Brush} brush @param {Grid["trace"]} trace */
function drawCaption(brush, trace) {
  const { model, method, preset } = trace.run ?? {};
  const { evaluations, time, note } = headlineOf(trace);
  const { text } = brush.theme;
  const { margin, size } = CAPTION;
  brush.text([model, method, preset].filter(Boolean).join(" · ") || "SCOPE", margin, 18, text, { size: CAPTION.titleSize, weight: "bold" });
  brush.text([evaluations, time, note].filter(Boolean).join("   |   "), margin, 38, text, { size });
  let x = margin;
  for (const { example, name } of legend()) {
    drawExample(brush, example, [x, 52, 18, 12]);
    brush.text(name, x + 23, 58, text, { size });
    x += 39 + measureText(name, size);
  }
}
