/**
 * A cell of the timeline in words.
 *
 * @typedef {import("./grid.js").Cell} Cell
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./trace.js").Segment} Segment
 * @typedef {import("./trace.js").Trace} Trace
 */

import { decimal, duration, rangeText } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { asSentence } from "../lib/sentences.js";
import { LOOK } from "./grid.js";
import { ruleSentence } from "./trace.js";

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
  if (grid.places.length > 1) parts.push(t("segment {number} of {count}", { number: grid.places.indexOf(place) + 1, count: grid.places.length }));
  const iteration = t("iteration {number} of {count}", { number: column + 1, count: grid.columns });
  parts.push(seconds ? `${iteration} (${duration(seconds)})` : iteration);
  parts.push(`${t("chunk {number} of {count}", { number: unit + 1, count: segment.units.length })} (${framesInWords(segment, unit)})`);
  return asSentence(parts.join(t(", ")));
}

/** @param {Segment} segment @param {number} unit */
function framesInWords(segment, unit) {
  const [from, to] = segment.units[unit];
  const frames = frameRange(segment, unit);
  return to - from > 1 ? t("latent frames {frames}", { frames }) : t("latent frame {frames}", { frames });
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
  if (look === LOOK.empty) return t("Not run yet.");
  const { segment } = place;
  const start = place.first + segment.ar_step * unit;
  const state =
    progress > 0
      ? t("Finished at iteration {iteration}.", { iteration: start + segment.sigmas.length - 1 })
      : t("Not started; it begins at iteration {iteration}.", { iteration: start + 1 });
  return look === LOOK.context ? `${state} ${t("It went through the model as context and took no step.")}` : state;
}

/** @param {Trace} trace @param {Cell} cell */
function describeDecision(trace, { look, rule }) {
  const reason = ruleSentence(trace, rule);
  if (look === LOOK.recompute) return t("Recomputed: {reason}.", { reason });
  return look === LOOK.predict ? t("Predicted: {reason}.", { reason }) : t("Reused from the cache: {reason}.", { reason });
}

/** @param {Trace} trace @param {Cell} cell */
function describeStep(trace, { place, progress, sigma, score }) {
  const step = t("Step {number} of {count}, sigma {sigma}.", { number: progress, count: place.segment.sigmas.length - 1, sigma: decimal(sigma, 4) });
  return score === null ? step : `${step} ${describeScore(trace, score)}`;
}

/** @param {Trace} trace @param {number} score */
function describeScore(trace, score) {
  const thresholds = thresholdsOf(trace.run?.settings ?? {});
  const limits = thresholds.length ? ` (${thresholds.join(t(", "))})` : "";
  return t("Score {score}{limits}.", { score: decimal(score), limits });
}

/** @param {Record<string, any>} settings */
function thresholdsOf({ method = "scope", tau_c, tau_p, threshold }) {
  const limits = method === "scope" ? [[t("cache below"), tau_c], [t("predict below"), tau_p]] : [[t("cache below"), threshold]];
  return limits.filter(([, limit]) => typeof limit === "number").map(([what, limit]) => `${what} ${decimal(limit)}`);
}
