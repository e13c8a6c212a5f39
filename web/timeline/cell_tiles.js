/**
 * What the looks of cells are filled with. What took the most work stands out most from the background, and the three modes differ
 * in lightness, not only in hue: marks of cells that are too narrow for them are left out.
 *
 * @typedef {import("../lib/canvas_brush.js").Tile} Tile
 * @typedef {import("../lib/theme.js").Theme} Theme
 */

import { LOOK } from "./grid.js";

const HATCHING = { size: 5, path: "M-6 6L1 -1M-1 6L6 -1M4 6L11 -1", isLine: true };
const DOTS = { size: 4, path: "M1.2 2a.8 .8 0 1 0 1.6 0a.8 .8 0 1 0 -1.6 0", isLine: false };
const LINES = { size: 4, path: "M-1 2H5", isLine: true };
const NARROW = 5; // CSS pixels of a cell that hatching and dots do not fit into

const ON_LIGHT = { waiting: "#00000009", done: "#0000002e", context: "#0000000c", lines: "#8a8a8a", cache: "#b3d9f2", hatching: "#8f5306", dots: "#4283ab" };
const ON_DARK = { waiting: "#ffffff0a", done: "#ffffff33", context: "#ffffff10", lines: "#767676", cache: "#2c6a9b", hatching: "#8a4f05", dots: "#a5d2f2" };

/** @param {Theme} theme @param {number} cellWidth @returns {Tile[]} By LOOK. */
export function tilesOf({ isDark, strong, accent }, cellWidth) {
  const colors = isDark ? ON_DARK : ON_LIGHT;
  const ifWide = (/** @type {import("../lib/canvas_brush.js").TileMark} */ mark) => (cellWidth < NARROW ? undefined : mark);
  return Object.values({
    [LOOK.empty]: { color: "transparent" },
    [LOOK.waiting]: { color: colors.waiting },
    [LOOK.done]: { color: colors.done },
    [LOOK.context]: { color: colors.context, mark: { ...LINES, color: colors.lines } },
    [LOOK.recompute]: { color: strong },
    [LOOK.predict]: { color: accent, mark: ifWide({ ...HATCHING, color: colors.hatching }) },
    [LOOK.cache]: { color: colors.cache, mark: ifWide({ ...DOTS, color: colors.dots }) },
  });
}
