/**
 * The numbers above the picture of a run.
 *
 * @typedef {import("./trace.js").Totals} Totals
 * @typedef {import("./trace.js").Trace} Trace
 */

import { duration, factorText, percent } from "../lib/formats.js";
import { asSentence } from "../lib/sentences.js";
import { ruleSentence } from "./trace.js";

const SMALLEST_DIFFERENCE = 1.05; // times faster or slower

/**
 * Evaluations and time stay apart: overheads make 2x fewer evaluations less than 2x faster.
 *
 * @param {Trace} trace
 * @returns {{evaluations: string, frames: string, time: string, timing: string, note: string}} `frames` and `timing` explain
 *   `evaluations` and `time`.
 */
export function headlineOf(trace) {
  const isRunning = !trace.totals;
  const totals = trace.totals ?? totalsSoFar(trace);
  const hasSkipped = totals.computed < totals.iterations;
  const isCompared = hasTimes(totals) && (hasSkipped || hasSavedFrames(totals));
  return {
    evaluations: rivalText(trace) + evaluationsText(trace, totals) + (isRunning ? " so far" : ""),
    frames: framesText(totals),
    time: timeText(totals, isCompared),
    timing: isCompared ? timingText(totals) : "",
    note: isRunning || hasSkipped ? "" : nothingSkippedText(trace, totals),
  };
}

/** @param {Trace} trace @returns {Totals} */
function totalsSoFar(trace) {
  let [iterations, computed, seconds] = [0, 0, 0];
  for (const { by_chunk: byChunk, steps } of trace.segments) {
    for (const step of steps) {
      iterations += byChunk ? countOf(step.modes, /[^.]/g) : 1;
      computed += byChunk ? countOf(step.modes, /R/g) : Number(step.modes.includes("R"));
      seconds += step.seconds ?? 0;
    }
  }
  return { iterations, computed, seconds };
}

/** @param {string} text @param {RegExp} pattern */
function countOf(text, pattern) {
  return (text.match(pattern) ?? []).length;
}

/** @param {Totals} totals */
function hasTimes({ seconds, estimated_baseline_seconds: baseline = 0 }) {
  return seconds > 0 && baseline > 0;
}

/** @param {Totals} totals */
function hasSavedFrames({ frames_computed: computed = 0, frames_baseline: baseline = 0 }) {
  return computed < baseline;
}

/** @param {Trace} trace */
function rivalText({ run }) {
  return run?.method && !["scope", "planned", "off"].includes(run.method) ? `${run.method}: ` : "";
}

/** @param {Trace} trace @param {Totals} totals */
function evaluationsText({ segments }, { computed, iterations }) {
  const saved = computed > 0 && computed < iterations ? `, ${factorText(iterations / computed, "fewer", "more")}` : "";
  return `${computed} of ${iterations} ${segments[0]?.by_chunk ? "chunk evaluations" : "evaluations"}${saved}`;
}

/** @param {Totals} totals */
function framesText({ frames_computed: computed = 0, frames_baseline: baseline }) {
  if (!baseline) return "";
  return `${percent(computed, baseline)} of the frames of a full run went through the model (${computed} of ${baseline})`;
}

/** @param {Totals} totals @param {boolean} isCompared */
function timeText({ seconds, estimated_baseline_seconds: baseline = 0 }, isCompared) {
  if (!seconds) return "";
  return isCompared ? `${duration(seconds)}, ${comparison(baseline / seconds)} computing every step` : duration(seconds);
}

/** @param {number} speedup */
function comparison(speedup) {
  const isSame = speedup < SMALLEST_DIFFERENCE && speedup > 1 / SMALLEST_DIFFERENCE;
  return isSame ? "about as fast as" : `about ${factorText(speedup, "faster than", "slower than", 1)}`;
}

/** @param {Totals} totals */
function timingText({ seconds, estimated_baseline_seconds: baseline = 0 }) {
  return (
    `Measured: this run's iterations took ${duration(seconds)}. Computing every step would have taken about ${duration(baseline)}, ` +
    "judged by the iterations of this run that were computed (without the first, which warms up)."
  );
}

/** @param {Trace} trace @param {Totals} totals */
function nothingSkippedText(trace, totals) {
  const reason = totals.skipped_reason || commonestRule(trace);
  return reason ? `Nothing was skipped. ${asSentence(reason)}` : "Nothing was skipped.";
}

/** @param {Trace} trace */
function commonestRule(trace) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { rules } of trace.segments.flatMap(({ steps }) => steps)) {
    for (const rule of rules) if (rule !== ".") counts[rule] = (counts[rule] ?? 0) + 1;
  }
  const [commonest] = Object.keys(counts).sort((a, b) => counts[b] - counts[a]);
  return commonest ? `Most often because ${ruleSentence(trace, commonest)}` : "";
}
