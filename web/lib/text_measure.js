/**
 * How wide texts are, so that labels fit and keep apart.
 *
 * @typedef {(text: string, size: number) => number} Measure Width of a text at a font size, in CSS pixels.
 */

import { contextOf } from "./canvas.js";

export const FONT_FAMILY = "system-ui, sans-serif";

/** @type {CanvasRenderingContext2D|null} */
let context = null;

/** As the browser draws it. @type {Measure} */
export function measureText(text, size) {
  context ??= contextOf(document.createElement("canvas"));
  context.font = `${size}px ${FONT_FAMILY}`;
  return context.measureText(text).width;
}

/**
 * Lines of at most so many pixels, where the words allow it.
 *
 * @param {string} text
 * @param {number} width
 * @param {number} size
 * @param {Measure} measure
 */
export function wrapText(text, width, size, measure) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (measure(longer, size) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.filter(Boolean);
}
