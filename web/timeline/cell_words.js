/**
 * A cell of the timeline in words.
 *
 * @typedef {import("./grid.js").Cell} Cell
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./trace.js").Segment} Segment
 * @typedef {import("./trace.js").Trace} Trace
 */

import { decimal, duration, rangeText } from "../lib/formats.js";
import { capitalised } from "../lib/sentences.js";
import { LOOK } from "./grid.js";
import { ruleSentence } from "./trace.js";

/** @type {Record<number, string>} */
const WORD_OF_LOOK = { [LOOK.recompute]: "Recomputed", [LOOK.predict]: "Predicted", [LOOK.cache]: "Reused from the cache" };

/**
 * Three lines: where and how long, what happened there and why, and the numbers behind it.
 *
 * @param {Grid} grid
 * @param {Cell} cell
 * @returns {[string, string, string]}
 */
export function describeCell(grid, cell) {
  const position = describePosition(grid, cell);
  if (cell.look < LOOK.recompute) return [position, describeIdle(cell), ""];
  return [position, describeDecision(grid.trace, cell), describeStep(grid.trace, cell)];
}

/** @param {Grid} grid @param {Cell} cell */
function describePosition(grid, { place, column, unit, seconds }) {
  const { segment } = place;
  const parts = [];
  if (grid.places.length > 1) parts.push(`segment ${grid.places.indexOf(place) + 1} of ${grid.places.length}`);
  parts.push(`iteration ${column + 1} of ${grid.columns}${seconds ? ` (${duration(seconds)})` : ""}`);
  parts.push(`chunk ${unit + 1} of ${segment.units.length} (${framesInWords(segment, unit)})`);
  return capitalised(`${parts.join(", ")}.`);
}

/** @param {Segment} segment @param {number} unit */
function framesInWords(segment, unit) {
  const [from, to] = segment.units[unit];
  return `latent ${to - from > 1 ? "frames" : "frame"} ${frameRange(segment, unit)}`;
}

/** Latent frames of a unit in the whole video, such as "5–9". @param {Segment} segment @param {number} unit */
export function frameRange({ start, units }, unit) {
  const [from, to] = units[unit];
  return rangeText(start + from, start + to);
}

/** Latent frames of a segment in the whole video. @param {Segment} segment */
export function segmentRange({ start, frames }) {
  return rangeText(start, start + frames);
}

/** @param {Cell} cell */
function describeIdle({ place, unit, look, progress }) {
  if (look === LOOK.empty) return "Not run yet.";
  const { segment } = place;
  const start = place.first + segment.ar_step * unit;
  const state =
    progress > 0
      ? `Finished at iteration ${start + segment.sigmas.length - 1}.`
      : `Not started; it begins at iteration ${start + 1}.`;
  return look === LOOK.context ? `${state} It went through the model as context and took no step.` : state;
}

/** @param {Trace} trace @param {Cell} cell */
function describeDecision(trace, { look, rule }) {
  return `${WORD_OF_LOOK[look]}: ${ruleSentence(trace, rule)}.`;
}

/** @param {Trace} trace @param {Cell} cell */
function describeStep(trace, { place, progress, sigma, score }) {
  const step = `Step ${progress} of ${place.segment.sigmas.length - 1}, sigma ${decimal(sigma, 4)}.`;
  return score === null ? step : `${step} ${describeScore(trace, score)}`;
}

/** @param {Trace} trace @param {number} score */
function describeScore(trace, score) {
  const thresholds = thresholdsOf(trace.run?.settings ?? {});
  return `Score ${decimal(score)}${thresholds.length ? ` (${thresholds.join(", ")})` : ""}.`;
}

/** @param {Record<string, any>} settings */
function thresholdsOf({ method = "scope", tau_c, tau_p, threshold }) {
  const limits = method === "scope" ? [["cache", tau_c], ["predict", tau_p]] : [["cache", threshold]];
  return limits.filter(([, limit]) => typeof limit === "number").map(([what, limit]) => `${what} below ${decimal(limit)}`);
}
