/**
 * The numbers above the picture of a run.
 *
 * @typedef {import("./trace.js").Totals} Totals
 * @typedef {import("./trace.js").Trace} Trace
 */

import { decimal, duration, percent, roughDuration } from "../lib/formats.js";
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
  const isCompared = hasTimes(totals) && framesRatio(totals) > 1;
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
    steps.forEach((step) => {
      iterations += byChunk ? countOf(step.modes, /[^.]/g) : 1;
      computed += byChunk ? countOf(step.modes, /R/g) : Number(step.modes.includes("R"));
      seconds += step.seconds;
    });
  }
  return { iterations, computed, seconds };
}

/** How long a run in progress will take, once a few iterations are done. @param {Trace} trace */
export function leftText(trace) {
  const { segments, expected = 0, ended, totals } = trace;
  const done = iterationsDone(trace);
  const known = segments.flatMap(({ steps }) => steps); // without holes
  if (totals || ended || known.length < FEW || done >= expected) return "";
  const seconds = known.reduce((sum, step) => sum + step.seconds, 0);
  return t("about {time} left", { time: roughDuration((seconds / known.length) * (expected - done)) });
}

/** @param {Trace} trace */
export function iterationsDone({ segments }) {
  return segments.reduce((sum, { steps }) => sum + steps.length, 0);
}

/** @param {string} text @param {RegExp} pattern */
function countOf(text, pattern) {
  return (text.match(pattern) ?? []).length;
}

/** @param {Totals} totals */
function hasTimes({ seconds, estimated_baseline_seconds: baseline = 0 }) {
  return seconds > 0 && baseline > 0;
}

/** @param {Trace} trace */
function rivalText({ run }) {
  return run?.method && !["scope", "planned", "off"].includes(run.method) ? `${run.method}: ` : "";
}

/**
 * Where frames were left out, evaluations alone would say too little: what counts is how many frames were computed. Those are no
 * operations, for methods that skip inside the network run some of its blocks for the others.
 *
 * @param {Trace} trace
 * @param {Totals} totals
 */
function evaluationsText({ segments }, totals) {
  const { computed, iterations } = totals;
  const counted = segments[0]?.by_chunk
    ? t("{computed} of {iterations} chunk evaluations", { computed, iterations })
    : t("{computed} of {iterations} evaluations", { computed, iterations });
  const [fewer, fewerFrames] = [iterations / computed, framesRatio(totals)];
  const parts = [counted];
  if (fewerFrames > NOTABLE * fewer) parts.push(t("{factor}x fewer frames computed", { factor: fewerFrames.toFixed(2) }));
  else if (computed > 0 && computed < iterations) parts.push(t("{factor}x fewer", { factor: fewer.toFixed(2) }));
  return parts.join(t(", "));
}

/** How many times fewer frames were computed than in a full run, judged by evaluations where those are not known. @param {Totals} totals */
function framesRatio({ computed, iterations, frames_computed: frames = 0, frames_baseline: ofBaseline = 0 }) {
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
  return isCompared ? t("{time} in this run, {comparison}", { time, comparison: comparison(baseline / seconds, framesRatio(totals)) }) : time;
}

/** A clock that says more than the frames explain was disturbed. @param {number} speedup @param {number} fewer */
function comparison(speedup, fewer) {
  const [clock, frames] = [decimal(speedup, 2), decimal(fewer, 2)];
  if (speedup > NOTABLE * fewer) return t("which does not tell how fast: the clock says {clock}x, the frames computed {frames}x", { clock, frames });
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
