/**
 * The legend above the chart: only what can be confused is explained.
 *
 * @typedef {import("../lib/text_measure.js").Measure} Measure
 * @typedef {{kind: "front"|"dominated"|"ring", method: number, text: string}} Entry `method` is its place in the list of methods.
 */

import { t } from "../lib/language.js";
import { nameOfCurrent } from "./marks.js";
import { FONT_SIZE, LINE_HEIGHT, SYMBOL_RADIUS } from "./sizes.js";

export const LEGEND_GAP = 12; // from the middle of a symbol to its text

/** @param {import("./marks.js").Mark[]} marks @param {string[]} methods @returns {Entry[]} */
export function legendOf(marks, methods) {
  /** @type {Entry[]} */
  const entries = methods.length > 1 ? methods.map((text, method) => ({ kind: "front", method, text })) : [];
  if (marks.some(({ kind }) => kind === "dominated")) entries.push({ kind: "dominated", method: 0, text: t("beaten by another setting") });
  if (marks.some(({ ringed }) => ringed)) entries.push({ kind: "ring", method: 0, text: nameOfCurrent() });
  return entries;
}

/**
 * In lines from left to right.
 *
 * @param {Entry[]} entries
 * @param {number} width
 * @param {number} top
 * @param {Measure} measure
 */
export function placeLegend(entries, width, top, measure) {
  const left = SYMBOL_RADIUS + 4;
  let [x, y] = [left, top + LINE_HEIGHT / 2 + 2];
  const placed = entries.map((entry) => {
    const needed = LEGEND_GAP + measure(entry.text, FONT_SIZE);
    if (x > left && x + needed > width) [x, y] = [left, y + LINE_HEIGHT];
    const place = { ...entry, x, y };
    x += needed + 16;
    return place;
  });
  return { entries: placed, height: entries.length ? y + LINE_HEIGHT / 2 + 3 - top : 0 };
}
