/**
 * The numbers above the picture of a run.
 *
 * @typedef {import("./trace.js").Totals} Totals
 * @typedef {import("./trace.js").Trace} Trace
 */

import { decimal, duration, factorText, percent, roughDuration } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { asSentence } from "../lib/sentences.js";
import { ruleSentence } from "./trace.js";

const FEW = 3; // iterations from which the time of the others is judged
const NOTABLE = 1.05; // a factor that noise does not explain

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
    evaluations: untilNow(trace, rivalText(trace) + evaluationsText(trace, totals)),
    frames: framesText(totals),
    time: [timeText(totals, isCompared), leftText(trace)].filter(Boolean).join(t(", ")),
    timing: isCompared ? timingText(totals) : "",
    note: isRunning || hasSkipped ? "" : nothingSkippedText(trace, totals),
  };
}

/** Of a run that is not finished. @param {Trace} trace @param {string} counted */
function untilNow({ totals, ended }, counted) {
  if (totals) return counted;
  if (ended === "cancelled") return t("{counted}, then cancelled", { counted });
  return ended ? t("{counted}, then stopped by an error", { counted }) : t("{counted} so far", { counted });
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

/** How long a run in progress will take, once a few iterations are done. @param {Trace} trace */
export function leftText({ segments, expected = 0, ended, totals }) {
  const steps = segments.flatMap((segment) => segment.steps);
  if (totals || ended || steps.length < FEW || steps.length >= expected) return "";
  const seconds = steps.reduce((sum, step) => sum + (step.seconds ?? 0), 0);
  return t("about {time} left", { time: roughDuration((seconds / steps.length) * (expected - steps.length)) });
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

/**
 * Where frames were left out, evaluations alone would say too little: what counts is how many frames went through the model.
 *
 * @param {Trace} trace
 * @param {Totals} totals
 */
function evaluationsText({ segments }, totals) {
  const { computed, iterations } = totals;
  const counted = segments[0]?.by_chunk
    ? t("{computed} of {iterations} chunk evaluations", { computed, iterations })
    : t("{computed} of {iterations} evaluations", { computed, iterations });
  const fewer = operationsRatio(totals);
  const parts = [counted];
  if (fewer > NOTABLE * (iterations / computed)) parts.push(factorText(fewer, t("{factor}x fewer operations"), t("{factor}x more operations")));
  else if (computed > 0 && computed < iterations) parts.push(factorText(iterations / computed, t("{factor}x fewer"), t("{factor}x more")));
  return parts.join(t(", "));
}

/** How many times fewer operations than a full run, judged by frames, or by evaluations where those are not known. @param {Totals} totals */
function operationsRatio({ computed, iterations, frames_computed: frames = 0, frames_baseline: ofBaseline = 0 }) {
  return frames && ofBaseline ? ofBaseline / frames : iterations / computed;
}

/** @param {Totals} totals */
function framesText({ frames_computed: computed = 0, frames_baseline: baseline }) {
  if (!baseline) return "";
  const share = percent(computed, baseline);
  return t("{share} of the latent frames of a full run went through the model ({computed} of {baseline})", { share, computed, baseline });
}

/** @param {Totals} totals @param {boolean} isCompared */
function timeText(totals, isCompared) {
  const { seconds, estimated_baseline_seconds: baseline = 0 } = totals;
  if (!seconds) return "";
  const time = duration(seconds);
  return isCompared ? t("{time} in this run, {comparison}", { time, comparison: comparison(baseline / seconds, operationsRatio(totals)) }) : time;
}

/** A clock that says more than the operations explain was disturbed. @param {number} speedup @param {number} fewer */
function comparison(speedup, fewer) {
  const [clock, operations] = [decimal(speedup, 2), decimal(fewer, 2)];
  if (speedup > NOTABLE * fewer) return t("which does not tell how fast: the clock says {clock}x, the operations {operations}x", { clock, operations });
  const isSame = speedup < NOTABLE && speedup > 1 / NOTABLE;
  return isSame ? t("about as fast as computing every step") : speedText(speedup);
}

/** With two digits, as many as a single run can tell. @param {number} speedup */
function speedText(speedup) {
  return speedup >= 1
    ? t("about {factor}x faster than computing every step", { factor: decimal(speedup, 2) })
    : t("about {factor}x slower than computing every step", { factor: decimal(1 / speedup, 2) });
}

/** @param {Totals} totals */
function timingText({ seconds, estimated_baseline_seconds: baseline = 0 }) {
  return t(
    "Measured once: this run's iterations took {time}. Computing every step would have taken about {full}, judged by the iterations of this run that were computed (without the first, which warms up).",
    { time: duration(seconds), full: duration(baseline) },
  );
}

/** @param {Trace} trace @param {Totals} totals */
function nothingSkippedText(trace, totals) {
  const reason = totals.skipped_reason || commonestRule(trace);
  return reason ? t("Nothing was skipped. {reason}", { reason: asSentence(t(reason.replace(/\.$/, ""))) }) : t("Nothing was skipped.");
}

/** @param {Trace} trace */
function commonestRule(trace) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { rules } of trace.segments.flatMap(({ steps }) => steps)) {
    for (const rule of rules) if (rule !== ".") counts[rule] = (counts[rule] ?? 0) + 1;
  }
  const [commonest] = Object.keys(counts).sort((a, b) => counts[b] - counts[a]);
  return commonest ? t("Most often because {rule}", { rule: ruleSentence(trace, commonest) }) : "";
}
