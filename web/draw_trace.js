/**
 * Drawing a SCOPE trace into a plain canvas: chunks from top to bottom, iterations from left to right.
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
 * @property {string} outline Around forwarded chunks that take no step.
 *
 * @typedef {object} Geometry CSS pixels.
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} columns
 * @property {number} rows
 */

import { LOOK, frameRange, gridOf, headlineOf, segmentRange } from "./trace.js";

const FONT = "10px system-ui, sans-serif";
const LABELS_WIDTH = 54;
const HEADER_HEIGHT = 17;
const FOOTER_HEIGHT = 17;
const RIGHT_MARGIN = 6;
const CAPTION_HEIGHT = 70;
const TALLEST_ROW = 30;
const SMALLEST_OUTLINED_CELL = 4;
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
  outline: "#00000070",
});

export const DARK_THEME = Object.freeze({
  background: "#353535",
  text: "#eeeeee",
  muted: "#b0b0b0",
  fills: ["transparent", "#ffffff0a", "#ffffff1c", "#ffffff40", "#e4f0ff", "#e8962e", "#2c6a9b"],
  onPredict: "#8a4f05",
  onCache: "#a5d2f2",
  outline: "#ffffff80",
});

export const LEGEND = Object.freeze([
  [LOOK.recompute, "Recompute"],
  [LOOK.predict, "Predict"],
  [LOOK.cache, "Cache"],
  [LOOK.context, "Context"],
  [LOOK.done, "Finished"],
  [LOOK.waiting, "Waiting"],
]);

/**
 * Draw a trace into a canvas, which takes the given size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Trace|Grid} source
 * @param {{width: number, height: number, pixelRatio?: number, theme?: Theme, caption?: boolean}} options Size in CSS
 *   pixels; `caption` adds the run, its numbers and the legend above the picture.
 * @returns {Geometry} Where the cells are.
 */
export function drawTrace(canvas, source, { width, height, pixelRatio = 1, theme = LIGHT_THEME, caption = false }) {
  const grid = "looks" in source ? source : gridOf(source);
  const context = sizedContext(canvas, width, height, pixelRatio);
  context.fillStyle = theme.background;
  context.fillRect(0, 0, width, height);

  const top = caption ? drawCaption(context, grid.trace, theme, pixelRatio) : 0;
  const geometry = geometryOf(grid, width, height, top);
  if (grid.columns > 0) {
    drawCells(context, grid, geometry, theme, pixelRatio);
    drawChunkLabels(context, grid, geometry, theme);
    drawIterationLabels(context, geometry, theme);
    drawSegmentBorders(context, grid, geometry, theme);
  }
  return geometry;
}

/** Height at which a picture with a caption leaves no room unused, up to a limit. */
export function captionedHeight(grid, limit) {
  return Math.min(limit, CAPTION_HEIGHT + HEADER_HEIGHT + grid.rows * TALLEST_ROW + FOOTER_HEIGHT);
}

/** Mark one cell on a canvas that lies over the drawn trace. */
export function drawCursor(canvas, geometry, cell, { width, height, pixelRatio, theme, pinned }) {
  const context = sizedContext(canvas, width, height, pixelRatio);
  if (!cell) return;
  const [x, y, w, h] = cellBox(geometry, cell.column, cell.unit);
  context.fillStyle = theme.outline;
  context.globalAlpha = 0.35;
  context.fillRect(x, geometry.y, w, geometry.height);
  context.fillRect(geometry.x, y, geometry.width, h);
  context.globalAlpha = 1;

  const marginX = Math.max(1, (6 - w) / 2);
  const marginY = Math.max(1, (6 - h) / 2);
  const box = [x - marginX, y - marginY, w + 2 * marginX, h + 2 * marginY];
  strokeBox(context, box, theme.background, pinned ? 5 : 4);
  strokeBox(context, box, theme.text, pinned ? 3 : 1.5);
}

/** @returns {{column: number, unit: number}|null} The cell at a point, in CSS pixels of the canvas. */
export function cellAtPoint({ x, y, width, height, columns, rows }, pointX, pointY) {
  const column = Math.floor(((pointX - x) / width) * columns);
  const unit = Math.floor(((pointY - y) / height) * rows);
  return column >= 0 && column < columns && unit >= 0 && unit < rows ? { column, unit } : null;
}

/** Fill a small canvas with the pattern of one look, for a legend. */
export function drawSwatch(canvas, look, theme, { width, height, pixelRatio }) {
  const context = sizedContext(canvas, width, height, pixelRatio);
  fillDevicePixels(context, look, [0, 0, canvas.width, canvas.height], fillStyles(context, theme, pixelRatio));
  if (look === LOOK.context) strokeBox(context, [0.5, 0.5, width - 1, height - 1], theme.outline, 1);
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
  const context = sizedContext(document.createElement("canvas"), 1, 1, 1);
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}

function sizedContext(canvas, width, height, pixelRatio) {
  canvas.width = Math.max(1, Math.round(width * pixelRatio));
  canvas.height = Math.max(1, Math.round(height * pixelRatio));
  const context = canvas.getContext("2d");
  context.scale(pixelRatio, pixelRatio);
  context.font = FONT;
  context.textBaseline = "middle";
  return context;
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

function cellBox({ x, y, width, height, columns, rows }, column, unit) {
  return [x + (column * width) / columns, y + (unit * height) / rows, width / columns, height / rows];
}

function drawCells(context, grid, geometry, theme, pixelRatio) {
  if ((geometry.width / grid.columns) * pixelRatio < 1) drawTinyCells(context, grid, geometry, theme);
  else drawRuns(context, grid, geometry, theme, pixelRatio);
}

/** Cells narrower than a pixel: one pixel each in a small image, which scaling then averages. */
function drawTinyCells(context, grid, geometry, theme) {
  const image = document.createElement("canvas");
  image.width = grid.columns;
  image.height = grid.rows;
  const imageContext = image.getContext("2d");
  forEachRun(grid, (look, unit, from, to) => {
    imageContext.fillStyle = theme.fills[look];
    imageContext.fillRect(from, unit, to - from, 1);
  });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, geometry.x, geometry.y, geometry.width, geometry.height);
}

/** Neighbours of one look are filled together, on whole device pixels so that no seams show. */
function drawRuns(context, grid, geometry, theme, pixelRatio) {
  const styles = fillStyles(context, theme, pixelRatio);
  const columnEdge = (column) => Math.round((geometry.x + (column * geometry.width) / grid.columns) * pixelRatio);
  const rowEdge = (unit) => Math.round((geometry.y + (unit * geometry.height) / grid.rows) * pixelRatio);
  forEachRun(grid, (look, unit, from, to) => {
    const [left, right] = [columnEdge(from), columnEdge(to)];
    const [top, bottom] = [rowEdge(unit), rowEdge(unit + 1)];
    fillDevicePixels(context, look, [left, top, right - left, bottom - top], styles);
  });
  drawGaps(context, geometry, theme);
  drawContextOutlines(context, grid, geometry, theme);
}

function forEachRun(grid, visit) {
  for (let unit = 0; unit < grid.rows; unit++) {
    const row = grid.looks.subarray(unit * grid.columns, (unit + 1) * grid.columns);
    for (let from = 0, to; from < row.length; from = to) {
      for (to = from + 1; to < row.length && row[to] === row[from]; to++);
      if (row[from] !== LOOK.empty) visit(row[from], unit, from, to);
    }
  }
}

function fillDevicePixels(context, look, box, styles) {
  context.save();
  context.resetTransform();
  context.fillStyle = styles[look];
  context.fillRect(...box);
  context.restore();
}

function fillStyles(context, theme, pixelRatio) {
  const styles = [...theme.fills];
  styles[LOOK.predict] = hatch(context, theme.fills[LOOK.predict], theme.onPredict, pixelRatio);
  styles[LOOK.cache] = dots(context, theme.fills[LOOK.cache], theme.onCache, pixelRatio);
  return styles;
}

function hatch(context, base, line, pixelRatio) {
  const size = Math.round(5 * pixelRatio);
  return pattern(context, size, base, (tile) => {
    tile.strokeStyle = line;
    tile.lineWidth = pixelRatio;
    tile.beginPath();
    for (const shift of [-size, 0, size]) {
      tile.moveTo(shift - 1, size + 1);
      tile.lineTo(shift + size + 1, -1);
    }
    tile.stroke();
  });
}

function dots(context, base, dot, pixelRatio) {
  const size = Math.round(4 * pixelRatio);
  return pattern(context, size, base, (tile) => {
    tile.fillStyle = dot;
    tile.beginPath();
    tile.arc(size / 2, size / 2, 0.8 * pixelRatio, 0, 2 * Math.PI);
    tile.fill();
  });
}

function pattern(context, size, base, drawMarks) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const tileContext = tile.getContext("2d");
  tileContext.fillStyle = base;
  tileContext.fillRect(0, 0, size, size);
  drawMarks(tileContext);
  return context.createPattern(tile, "repeat");
}

function drawGaps(context, geometry, theme) {
  const { x, y, width, height, columns, rows } = geometry;
  context.fillStyle = theme.background;
  if (width / columns >= SMALLEST_GAPPED_CELL) {
    for (let column = 1; column < columns; column++) context.fillRect(x + (column * width) / columns - 0.5, y, 1, height);
  }
  if (height / rows >= SMALLEST_GAPPED_CELL) {
    for (let unit = 1; unit < rows; unit++) context.fillRect(x, y + (unit * height) / rows - 0.5, width, 1);
  }
}

/** The part of the forwarded interval that takes no step: a line around each connected area. */
function drawContextOutlines(context, grid, geometry, theme) {
  if (geometry.width / grid.columns < SMALLEST_OUTLINED_CELL) return;
  const isContext = (column, unit) =>
    column >= 0 &&
    column < grid.columns &&
    unit >= 0 &&
    unit < grid.rows &&
    grid.looks[unit * grid.columns + column] === LOOK.context;
  context.strokeStyle = theme.outline;
  context.lineWidth = 1;
  context.beginPath();
  for (let unit = 0; unit < grid.rows; unit++) {
    for (let column = 0; column < grid.columns; column++) {
      if (!isContext(column, unit)) continue;
      const [x, y, w, h] = cellBox(geometry, column, unit);
      if (!isContext(column, unit - 1)) line(context, x, y + 1, x + w, y + 1);
      if (!isContext(column, unit + 1)) line(context, x, y + h - 1, x + w, y + h - 1);
      if (!isContext(column - 1, unit)) line(context, x + 1, y, x + 1, y + h);
      if (!isContext(column + 1, unit)) line(context, x + w - 1, y, x + w - 1, y + h);
    }
  }
  context.stroke();
}

function drawChunkLabels(context, grid, geometry, theme) {
  const single = grid.places.length === 1 ? grid.places[0].segment : null;
  const labelX = geometry.x - 5;
  context.textAlign = "right";
  context.fillStyle = theme.muted;
  context.fillText(single ? "frames" : "chunk", labelX, geometry.y - 8);
  context.fillStyle = theme.text;
  const every = Math.ceil(11 / (geometry.height / grid.rows));
  for (let unit = 0; unit < grid.rows; unit += every) {
    const [, y, , h] = cellBox(geometry, 0, unit);
    context.fillText(single ? frameRange(single, unit) : `${unit + 1}`, labelX, y + h / 2);
  }
}

function drawIterationLabels(context, geometry, theme) {
  const y = geometry.y + geometry.height + 9;
  context.textAlign = "right";
  context.fillStyle = theme.muted;
  context.fillText("iteration", geometry.x - 5, y);
  context.fillStyle = theme.text;
  context.textAlign = "left";
  const cellWidth = geometry.width / geometry.columns;
  const every = TICK_STEPS.find((step) => step * cellWidth >= 36) ?? geometry.columns;
  let free = geometry.x;
  for (const tick of [1, ...multiples(every, geometry.columns)]) {
    const width = context.measureText(`${tick}`).width;
    const centre = geometry.x + (tick - 0.5) * cellWidth;
    const left = Math.min(Math.max(centre - width / 2, geometry.x), geometry.x + geometry.width - width);
    if (left < free) continue;
    context.fillText(`${tick}`, left, y);
    free = left + width + 8;
  }
}

function multiples(step, limit) {
  return Array.from({ length: Math.floor(limit / step) }, (_, index) => (index + 1) * step);
}

function drawSegmentBorders(context, grid, geometry, theme) {
  if (grid.places.length < 2) return;
  context.textAlign = "left";
  context.fillStyle = theme.text;
  context.strokeStyle = theme.text;
  context.lineWidth = 1;
  for (const { segment, first, count } of grid.places) {
    const [x] = cellBox(geometry, first, 0);
    const room = (count * geometry.width) / grid.columns - 8;
    const number = `${segment.index + 1}`;
    const labels = [`segment ${number}, frames ${segmentRange(segment)}`, `segment ${number}`, number];
    const label = labels.find((text) => context.measureText(text).width <= room);
    if (label) context.fillText(label, x + 4, geometry.y - 8);
    context.beginPath();
    line(context, x, geometry.y - 14, x, geometry.y + geometry.height);
    context.stroke();
  }
}

function drawCaption(context, trace, theme, pixelRatio) {
  const { model, method, preset } = trace.run ?? {};
  const { evaluations, time, note } = headlineOf(trace);
  context.textAlign = "left";
  context.fillStyle = theme.text;
  context.font = "bold 15px system-ui, sans-serif";
  context.fillText([model, method, preset].filter(Boolean).join(" · ") || "SCOPE", 12, 18);
  context.font = "12px system-ui, sans-serif";
  context.fillText([evaluations, time, note].filter(Boolean).join("   |   "), 12, 38);
  drawCaptionLegend(context, theme, pixelRatio);
  context.font = FONT;
  return CAPTION_HEIGHT;
}

function drawCaptionLegend(context, theme, pixelRatio) {
  let x = 12;
  for (const [look, label] of LEGEND) {
    const swatch = document.createElement("canvas");
    drawSwatch(swatch, look, theme, { width: 18, height: 12, pixelRatio });
    context.drawImage(swatch, x, 52, 18, 12);
    context.fillText(label, x + 23, 58);
    x += 23 + context.measureText(label).width + 16;
  }
}

function line(context, fromX, fromY, toX, toY) {
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
}

function strokeBox(context, box, color, lineWidth) {
  context.strokeStyle = color;
  context.lineWidth = lineWidth;
  context.strokeRect(...box);
}
