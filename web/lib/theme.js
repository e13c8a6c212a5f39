/**
 * Colours of the page, whatever palette the user chose.
 *
 * @typedef {object} Theme
 * @property {boolean} isDark
 * @property {string} background
 * @property {string} text
 * @property {string} muted
 * @property {string} strong What stands out most from the background.
 * @property {string} accent
 */

import { contextOf } from "./canvas.js";

/** @type {Theme} */
export const LIGHT_THEME = Object.freeze({
  isDark: false,
  background: "#f5f5f5",
  text: "#222222",
  muted: "#555555",
  strong: "#12365f",
  accent: "#e39331",
});

/** @type {Theme} */
const DARK_THEME = Object.freeze({
  isDark: true,
  background: "#353535",
  text: "#eeeeee",
  muted: "#b0b0b0",
  strong: "#e4f0ff",
  accent: "#e8962e",
});

/** Colours that fit an element of the page. @param {Element} element @returns {Theme} */
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

/** @param {string} color In any notation, which only a canvas reads. */
function isDark(color) {
  const context = contextOf(document.createElement("canvas"), { willReadFrequently: true });
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}
