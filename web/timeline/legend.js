/**
 * The legend of the timeline: what is drawn, its name, and what it means.
 *
 * @typedef {import("./plot_geometry.js").Brush} Brush
 * @typedef {number|"interval"} Example A look, or the outline of the active interval.
 * @typedef {{example: Example, name: string, meaning: string}} LegendEntry
 */

import { CanvasBrush } from "../lib/canvas_brush.js";
import { tilesOf } from "./cell_tiles.js";
import { LOOK } from "./grid.js";

/** @type {readonly LegendEntry[]} */
export const LEGEND = Object.freeze([
  { example: LOOK.recompute, name: "Recompute", meaning: "The model computed the velocity" },
  { example: LOOK.predict, name: "Predict", meaning: "The velocity was predicted from earlier ones" },
  { example: LOOK.cache, name: "Cache", meaning: "An earlier velocity was used again" },
  { example: "interval", name: "Active interval", meaning: "What goes through the model when an iteration is computed" },
  { example: LOOK.context, name: "Context", meaning: "Went through the model and took no step" },
  { example: LOOK.done, name: "Finished", meaning: "All steps are done" },
  { example: LOOK.waiting, name: "Waiting", meaning: "Not started" },
]);

/**
 * Fill a small canvas with an example.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Example} example
 * @param {import("../lib/theme.js").Theme} theme
 * @param {{width: number, height: number, pixelRatio: number}} size
 */
export function drawSwatch(canvas, example, theme, size) {
  drawExample(new CanvasBrush(canvas, { ...size, theme, tiles: tilesOf(theme) }), example, [0, 0, size.width, size.height]);
}

/** @param {Brush} brush @param {Example} example @param {import("../lib/canvas_brush.js").Area} area */
export function drawExample(brush, example, [x, y, width, height]) {
  if (example === "interval") outline(brush, `M${x + 2} ${y + 2}h${width - 4}v${height - 4}h${4 - width}z`);
  else brush.fillTile([x, y, width, height], example);
}

/** How the active interval is drawn, here and around the cells. @param {Brush} brush @param {string} path */
export function outline(brush, path) {
  brush.stroke(path, brush.theme.background, 4);
  brush.stroke(path, brush.theme.text, 1.5);
}
