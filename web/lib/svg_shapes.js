/**
 * Parts that the drawn charts share; pictures carry their own colours and font.
 *
 * @typedef {import("./theme.js").Theme} Theme
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 * @typedef {Record<string, string|number>} Attributes
 */

import { createSvg } from "./elements.js";
import { FONT_FAMILY } from "./text_measure.js";

const MIDDLE = 0.35; // of the font size, from the base line up to the middle of the letters

/** @param {number} width @param {number} height @param {Theme} theme @param {Node[]} children */
export function pictureOf(width, height, theme, children) {
  const room = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT_FAMILY };
  return createSvg("svg", room, [createSvg("rect", { width, height, fill: theme.background }), ...children]);
}

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {Attributes} attributes */
export function line(x1, y1, x2, y2, attributes) {
  return createSvg("line", { x1, y1, x2, y2, ...attributes });
}

/**
 * A line of the grid behind the values.
 *
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @param {Theme} theme
 */
export function gridLine(x1, y1, x2, y2, theme) {
  return line(x1, y1, x2, y2, { stroke: theme.muted, "stroke-opacity": 0.22 });
}

/** The edge of a plot. @param {Box} box @param {Theme} theme */
export function frame({ x, y, width, height }, theme) {
  return createSvg("rect", { x, y, width, height, fill: "none", stroke: theme.muted, "stroke-opacity": 0.45 });
}

/** @param {number} cx @param {number} cy @param {number} r @param {Attributes} attributes */
export function circle(cx, cy, r, attributes) {
  return createSvg("circle", { cx, cy, r, ...attributes });
}

/**
 * A text whose middle is at this height; not every program knows `dominant-baseline`.
 *
 * @param {string} content
 * @param {number} x
 * @param {number} y
 * @param {number} size
 * @param {Attributes} attributes
 */
export function textAt(content, x, y, size, attributes) {
  return createSvg("text", { x, y: y + size * MIDDLE, "font-size": size, ...attributes }, [content]);
}

/** An edge in the background's colour keeps a text readable on a line. @param {Theme} theme @returns {Attributes} */
export function halo(theme) {
  return { stroke: theme.background, "stroke-width": 3, "paint-order": "stroke" };
}
