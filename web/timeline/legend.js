/**
 * The legend of the timeline: what is drawn, its name, and what it means.
 *
 * @typedef {import("./plot_geometry.js").Brush} Brush
 * @typedef {number|"interval"} Example A look, or the outline of the active interval.
 * @typedef {{example: Example, name: string, meaning: string}} LegendEntry
 */

import { CanvasBrush } from "../lib/canvas_brush.js";
import { t } from "../lib/language.js";
import { tilesOf } from "./cell_tiles.js";
import { LOOK } from "./grid.js";

/** @returns {LegendEntry[]} */
export function legend() {
  return [
    { example: LOOK.recompute, name: t("Recompute"), meaning: t("The model computed the velocity") },
    { example: LOOK.predict, name: t("Predict"), meaning: t("The velocity was predicted from earlier ones") },
    { example: LOOK.cache, name: t("Cache"), meaning: t("An earlier velocity was used again") },
    { example: "interval", name: t("Active interval"), meaning: t("What goes through the model when an iteration is computed") },
    { example: LOOK.context, name: t("Context"), meaning: t("Went through the model and took no step") },
    { example: LOOK.done, name: t("Finished"), meaning: t("All steps are done") },
    { example: LOOK.waiting, name: t("Waiting"), meaning: t("Not started") },
  ];
}

/**
 * Fill a small canvas with an example.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Example} example
 * @param {import("../lib/theme.js").Theme} theme
 * @param {{width: number, height: number, pixelRatio: number}} size
 */
export function drawSwatch(canvas, example, theme, size) {
  drawExample(new CanvasBrush(canvas, { ...size, theme, tiles: tilesOf(theme, size.width) }), example, [0, 0, size.width, size.height]);
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
