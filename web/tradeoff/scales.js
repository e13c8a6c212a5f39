/**
 * The axes of the chart: cost from left to right, how many times less that is above, and quality upwards.
 *
 * @typedef {import("../lib/svg_shapes.js").Box} Box
 * @typedef {import("../lib/text_measure.js").Measure} Measure
 * @typedef {import("./marks.js").Cost} Cost
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./marks.js").View} View
 * @typedef {{title: string, ticks: {position: number, text: string}[]}} Axis
 */

import { linear, paddedRange, tickStep, ticks } from "../lib/axes.js";
import { clamp } from "../lib/clamp.js";
import { shortUnit } from "../lib/fidelity.js";
import { decimal } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { intervalOf } from "./marks.js";
import { FONT_SIZE, SYMBOL_RADIUS } from "./sizes.js";

const TOP_ROW_HEIGHT = 22;
const TITLE_GAP = 14;
const FACTORS = [1, 2, 4, 3, 8, 1.5, 6, 5, 10, 16, 20, 0.5, 2.5, 12, 32, 50, 0.75, 1.25, 3.5, 100];

/** @type {Record<string, number>} The value of a perfect copy. */
const BEST_VALUE = { ssim: 1 };

/**
 * What an axis has to show of a mark: its mean, and its interval as far as that is not much wider than what was measured.
 *
 * @param {Mark} mark
 * @param {"x"|"y"} axis
 * @param {View} view
 */
function reachOf(mark, axis, view) {
  const interval = intervalOf(mark, axis, view);
  if (!interval) return [mark[axis]];
  const measured = mark.trials.map((trial) => trial[axis]);
  const [low, high] = [Math.min(...measured), Math.max(...measured)];
  return [mark[axis], ...interval.map((end) => clamp(end, low - (high - low), high + (high - low)))];
}

/**
 * @param {Mark[]} marks
 * @param {View} view
 * @param {[number, number]} edges Left and right.
 * @returns {{xOf: (value: number) => number, axis: Axis}}
 */
export function scaleOfCost(marks, view, [left, right]) {
  const { x: cost } = view;
  const [from, to] = marks.length ? paddedRange(marks.flatMap((mark) => reachOf(mark, "x", view)), 0.06) : [0, 1];
  const low = Math.max(0, from);
  const xOf = linear([low, to], [left, right]);
  const least = (to - low) / ((right - left) / 56);
  const step = cost === "evaluations" ? Math.max(1, tickStep(least)) : tickStep(least);
  const values = ticks(low, to, (to - low) / step);
  return { xOf, axis: { title: cost === "seconds" ? t("seconds") : t("evaluations"), ticks: values.map((value) => ({ position: xOf(value), text: decimal(value, 4) })) } };
}

/**
 * Handy factors, the most welcome ones first, wherever there is room.
 *
 * @param {Cost} cost
 * @param {number} reference Its cost; NaN where there is none.
 * @param {(value: number) => number} xOf
 * @param {[number, number]} edges
 * @returns {Axis}
 */
export function scaleOfFactors(cost, reference, xOf, [left, right]) {
  /** @type {Axis["ticks"]} */
  const chosen = [];
  for (const factor of reference > 0 ? FACTORS : []) {
    const position = xOf(reference / factor);
    if (position < left + TITLE_GAP || position > right || chosen.some((other) => Math.abs(other.position - position) < 34)) continue;
    chosen.push({ position, text: `${factor}x` });
  }
  return { title: cost === "seconds" ? t("times faster") : t("times fewer"), ticks: chosen };
}

/**
 * Results identical to the baseline have a row of their own, above all numbers.
 *
 * @param {View} view
 * @param {Mark[]} marks
 * @param {Box} plot
 * @returns {{top: number, ticks: Axis["ticks"], yOf: (value: number) => number}}
 */
export function scaleOfQuality(view, marks, plot) {
  const { runs, metric = "" } = view;
  const top = plot.y + TOP_ROW_HEIGHT / 2;
  const values = marks.flatMap((mark) => reachOf(mark, "y", view)).filter(Number.isFinite);
  if (!runs || !values.length) return { top, ticks: [], yOf: () => top };
  const best = runs.metrics[metric].better === "lower" ? 0 : BEST_VALUE[metric] ?? Infinity;
  const [low, high] = paddedRange(values, 0.12);
  /** @type {[number, number]} */
  const range = [low, Math.min(high, best)];
  const scale = linear(range, [plot.y + plot.height - SYMBOL_RADIUS, plot.y + TOP_ROW_HEIGHT + SYMBOL_RADIUS]);
  return {
    top,
    ticks: ticks(...range, Math.max(2, plot.height / 36)).map((value) => ({ position: scale(value), text: decimal(Math.abs(value), 4) })),
    yOf: (value) => (value === Infinity ? top : scale(value)),
  };
}

/** The longest that fits. @param {View} view @param {number} room @param {Measure} measure */
export function titleOfQuality({ runs, metric = "" }, room, measure) {
  const known = runs?.metrics[metric];
  if (!known) return "";
  const unit = shortUnit(known);
  const name = unit ? t("{metric} in {unit}", { metric: known.label, unit }) : known.label;
  const up = t("{metric}, up is better", { metric: name });
  const titles = [
    known.better === "lower" ? t("{metric}, up is better (smaller)", { metric: name }) : up,
    up,
    t("{metric} ↑ better", { metric: known.label }),
    t("↑ better"),
  ];
  return titles.find((title) => measure(title, FONT_SIZE) <= room) ?? "";
}
