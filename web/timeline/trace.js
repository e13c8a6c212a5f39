/**
 * The trace of a run as Python writes it.
 *
 * @typedef {object} Step One iteration of a segment.
 * @property {string} modes A letter per unit: R recompute, C cache, P predict, "." takes no step.
 * @property {string} rules A letter per unit: the rule that fired (see `Trace.rules`), or ".".
 * @property {string|number[]} scores Accumulated discrepancy before the decision, of the advancing units in order: four digits
 *   ABCN each for ABC * 10^-N; plain numbers in version 1.
 * @property {[number, number]} frames Columns [from, to) that went through the model.
 * @property {number} seconds
 *
 * @typedef {object} Segment One window of the video.
 * @property {number} index
 * @property {number} start Latent frame of the video that column 0 holds.
 * @property {number} frames
 * @property {number} prefix
 * @property {number} tail
 * @property {number} ar_step Iterations by which each unit lags the one before.
 * @property {boolean} [by_chunk] Units go through the model on their own, and each counts as an evaluation.
 * @property {[number, number][]} units Columns [from, to) of every unit.
 * @property {number[]} sigmas Noise levels, one more than there are steps.
 * @property {Step[]} steps With holes for what was missed of a run in progress.
 * @property {number} [planned] Iterations to expect while the run is in progress.
 *
 * @typedef {object} Totals
 * @property {number} iterations Evaluations of a full run: its iterations, or its units' steps where they are forwarded on their own.
 * @property {number} computed Evaluations made.
 * @property {number} seconds
 * @property {number} [frames_computed]
 * @property {number} [frames_baseline]
 * @property {number} [estimated_baseline_seconds]
 * @property {string} [skipped_reason]
 *
 * @typedef {object} Trace
 * @property {string} format
 * @property {number} version
 * @property {{model?: string, method?: string, preset?: string, settings?: Record<string, any>}} run
 * @property {Record<string, string>} rules Sentence for every rule letter.
 * @property {Segment[]} segments
 * @property {Totals} [totals] Missing while the run is in progress.
 * @property {number} [expected] Iterations of a run in progress.
 * @property {string} [ended] How a run ended that was not finished, such as "cancelled".
 */

import { t } from "../lib/language.js";
import { PayloadError, readPayload } from "../lib/payload.js";

export const FORMAT = "scope.trace";
export const VERSION = 3;

const EXPECTED = { format: FORMAT, version: VERSION, name: "trace" };

/** @param {unknown} payload A trace or its JSON text. @returns {Trace} */
export function parseTrace(payload) {
  const trace = readPayload(typeof payload === "string" ? parseJson(payload) : payload, EXPECTED);
  if (!Array.isArray(trace.segments)) throw new PayloadError("The segments of this SCOPE trace cannot be read.");
  return trace;
}

/** @param {string} text @returns {unknown} Null where it is no JSON. */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Why a rule decided as it did, as Python says it; the tables of tests/locales have these sentences from there. @param {Trace} trace @param {string} letter */
export function ruleSentence(trace, letter) {
  const sentence = trace.rules?.[letter];
  return sentence ? t(sentence) : t("rule \"{letter}\"", { letter });
}
