/**
 * The chart and its points in words.
 *
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./marks.js").View} View
 * @typedef {import("../lib/fidelity.js").Metric} Metric
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Runs} Runs
 * @typedef {import("./runs.js").Quantiles} Quantiles
 * @typedef {{label: string, clip: number}} Running The setting that is being run, and with which clip.
 */

import { shortUnit } from "../lib/fidelity.js";
import { decimal, duration, factorText, meanCount, roughDuration } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { asSentence } from "../lib/sentences.js";
import { clipCount, clipsOf, differences, keyOf, meanOf, nameOfClip, valuesOf } from "./clips.js";
import { nameOfCurrent, evaluationsOf, marksOf } from "./marks.js";
import { baselineOf, isSamePoint, nameOfBaseline } from "./runs.js";

const SHARED_SETTINGS = new Set(["method", "aggregate", "selective", "joint"]);

/** The chart as a whole. @param {View} view */
export function titleOf({ runs, plan, clips: planned = 1 }) {
  const count = runs ? runs.points.length : plan.length;
  const clips = runs ? clipCount(runs) : planned;
  return [runs?.model, countText(Boolean(runs), count, clips)].filter(Boolean).join(": ");
}

/** @param {boolean} isMeasured @param {number} count Of settings. @param {number} clips */
function countText(isMeasured, count, clips) {
  if (isMeasured) {
    if (clips > 1) return count === 1 ? t("1 setting measured on {clips} clips", { clips }) : t("{count} settings measured on {clips} clips", { count, clips });
    return count === 1 ? t("1 setting measured") : t("{count} settings measured", { count });
  }
  if (clips > 1) return count === 1 ? t("1 setting planned on {clips} clips", { clips }) : t("{count} settings planned on {clips} clips", { count, clips });
  return count === 1 ? t("1 setting planned") : t("{count} settings planned", { count });
}

/**
 * How far a sweep is: what is not measured yet takes as long for each evaluation as the run without SCOPE. One that makes that run
 * again measures all anew.
 *
 * @param {View} view
 * @param {Running} running
 */
export function progressOf({ runs, plan, clips = 1 }, { label, clip }) {
  const earlier = baselineOf(runs?.points ?? []);
  const isAnew = earlier && label === nameOfBaseline() && clipsOf(earlier).length >= clip;
  const measured = isAnew ? [] : (runs?.points ?? []);
  const left = plan.map((point) => {
    const known = measured.find((other) => isSamePoint(other, point));
    return { computed: point.computed, clips: Math.max(0, clips - (known ? clipsOf(known).length : 0)) };
  });
  const runsLeft = left.reduce((sum, each) => sum + each.clips, 0);
  const baseline = baselineOf(measured);
  const evaluations = left.reduce((sum, each) => sum + each.computed * each.clips, 0);
  const seconds = baseline?.seconds ? evaluations * (baseline.seconds / baseline.computed) : 0;
  const parts = [
    t("Run {number} of {count}", { number: plan.length * clips - runsLeft + 1, count: plan.length * clips }),
    label,
    clips > 1 && t("clip {number} of {count}", { number: clip, count: clips }),
    seconds > 0 && t("about {time} left", { time: roughDuration(seconds) }),
  ];
  return parts.filter(Boolean).join(t(", "));
}

/** Why planned settings are missing from the chart, if they are. @param {View} view */
export function noteOfPlan({ runs, plan, current, x }) {
  const isTimed = (baselineOf(runs?.points ?? [])?.seconds ?? 0) > 0;
  if (x === "evaluations" || isTimed || !(plan.length || current)) return "";
  return t("Settings that are only planned appear under Evaluations, because no unaccelerated run was timed.");
}

/** @param {Mark} mark @param {View} view @returns {{title: string, lines: string[]}} */
export function describePoint(mark, view) {
  const { runs, plan } = view;
  const { point, kind } = mark;
  const baseline = baselineOf(runs?.points ?? []) ?? (kind === "planned" ? baselineOf(plan) : null);
  return {
    title: mark.ringed && point.label !== nameOfCurrent() ? [nameOf(point), nameOfCurrent()].join(t(", ")) : nameOf(point),
    lines: [
      `${describeEvaluations(point, baseline)} ${kind === "planned" ? t("Not measured yet.") : describeSeconds(point, baseline, runs?.quantiles)}`,
      describeDifference(mark, view),
      describeQuality(mark, runs),
      `${describeStanding(mark)} ${describeSettings(point)}`,
    ].filter((line) => line.trim()),
  };
}

/** @param {Point} point */
function nameOf({ label, method, baseline }) {
  const isNamed = baseline || !method || label.startsWith(method);
  return isNamed ? label : `${label} (${method})`;
}

/** @param {Point} point @param {Point|null} baseline */
function describeEvaluations(point, baseline) {
  const { computed, iterations } = point;
  const cost = evaluationsOf(point, baseline);
  const counted = meanCount(computed);
  const parts = [iterations ? t("{computed} of {iterations} evaluations", { computed: counted, iterations }) : t("{computed} evaluations", { computed: counted })];
  if (cost > computed * 1.1) parts.push(t("with the blocks run in between as many as {cost}", { cost: cost.toFixed(1) }));
  if (baseline && !point.baseline) parts.push(factorText(baseline.computed / cost, t("{factor}x fewer"), t("{factor}x more")));
  return asSentence(parts.join(t(", ")));
}

/** @param {Point} point @param {Point|null} baseline @param {Quantiles} [quantiles] */
function describeSeconds(point, baseline, quantiles) {
  const { seconds = 0, baseline: isBaseline } = point;
  if (!(seconds > 0)) return "";
  const full = baseline?.seconds ?? 0;
  const parts = [`${duration(seconds)}${inBrackets(intervalText(valuesOf(point, "seconds"), quantiles, duration))}`];
  if (full > 0 && !isBaseline) parts.push(factorText(full / seconds, t("{factor}x faster"), t("{factor}x slower"), 1));
  const clips = clipsOf(point).length;
  const times = parts.join(t(", "));
  return clips > 1 ? t("Measured on {clips} clips: {times}.", { clips, times }) : t("Measured once: {times}.", { times });
}

/** @param {...string} parts */
function inBrackets(...parts) {
  const told = parts.filter(Boolean).join("; ");
  return told && ` (${told})`;
}

/**
 * "2.3 s to 2.7 s"; empty where no interval is known.
 *
 * @param {number[]} values
 * @param {Quantiles|undefined} quantiles
 * @param {(value: number) => string} write
 */
function intervalText(values, quantiles, write) {
  const { mean, half } = meanOf(values, quantiles);
  return half > 0 && Number.isFinite(half) ? t("{low} to {high}", { low: write(mean - half), high: write(mean + half) }) : "";
}

/** @param {Mark} mark @param {Runs|null} runs */
function describeQuality({ point, kind }, runs) {
  const metrics = runs?.metrics ?? {};
  if (kind === "planned") return "";
  if (kind === "baseline") return t("The others are compared with this run.");
  if (point.identical) return t("Identical to the unaccelerated run.");
  const known = Object.entries(metrics).filter(([name]) => Number.isFinite(point[name]));
  const parts = known.map(([name, metric]) => valuesText(metric, name, point, runs?.quantiles));
  return parts.length ? asSentence(parts.join(t(", "))) : t("Quality was not measured.");
}

/** @param {Metric} metric @param {string} name @param {Point} point @param {Quantiles} [quantiles] */
function valuesText(metric, name, point, quantiles) {
  const write = (/** @type {number} */ value) => qualityText(value, metric);
  const value = [write(point[name]), shortUnit(metric)].filter(Boolean).join(" ");
  const worst = point[`${name}_worst`];
  const interval = intervalText(valuesOf(point, name), quantiles, write);
  return `${metric.label} ${value}${inBrackets(interval, worstClip(metric, name, point), Number.isFinite(worst) ? t("worst frame {value}", { value: write(worst) }) : "")}`;
}

/** "worst clip 2, seed 6: 31.2"; empty where there is one clip. @param {Metric} metric @param {string} name @param {Point} point */
function worstClip(metric, name, point) {
  const clips = clipsOf(point);
  const values = valuesOf(point, name);
  if (clips.length < 2 || !values.length) return "";
  const worst = metric.better === "lower" ? Math.max(...values) : Math.min(...values);
  return t("worst {clip}: {value}", { clip: nameOfClip(clips[values.indexOf(worst)], clips), value: qualityText(worst, metric) });
}

/**
 * By how much a setting is above another one on the same clips: the one that beats it, or the next one that costs more.
 *
 * @param {Mark} mark
 * @param {View} view
 */
function describeDifference({ point, kind, x, beatenBy }, view) {
  const { runs, metric: name = "" } = view;
  const metric = runs?.metrics[name];
  if (!runs || !metric || clipsOf(point).length < 2 || point.baseline || point.identical) return "";
  const others = marksOf(view).filter((other) => other.kind === "front" && !other.point.baseline && other.x > x);
  const rival = kind === "dominated" ? beatenBy : others.sort((a, b) => a.x - b.x)[0]?.point;
  if (!rival || rival.baseline || !valuesOf(rival, name).length) return "";
  const byClip = (/** @type {Point} */ one) => new Map(clipsOf(one).map((clip, index) => [keyOf(clip), valuesOf(one, name)[index]]));
  const apart = differences(byClip(point), byClip(rival));
  const write = (/** @type {number} */ value) => `${value < 0 ? "−" : "+"}${qualityText(Math.abs(value), metric)}`;
  const told = [metric.label, write(meanOf(apart).mean), shortUnit(metric)].filter(Boolean).join(" ");
  const difference = `${told}${inBrackets(intervalText(apart, runs.quantiles, write))}`;
  return t("Against {setting}, clip by clip: {difference}.", { setting: rival.label, difference });
}

/** @param {number} value @param {Metric} metric */
function qualityText(value, { unit, better }) {
  if (unit === "dB") return value.toFixed(1);
  return better === "lower" ? decimal(value) : value.toFixed(4);
}

/** @param {Mark} mark */
function describeStanding({ point, kind, beatenBy }) {
  if (point.baseline) return t("Every step computed.");
  if (kind === "planned") return "";
  if (!beatenBy) return t("No other setting beats it.");
  return beatenBy.baseline ? t("Beaten by the run without SCOPE.") : t("Beaten by {setting}.", { setting: beatenBy.label });
}

/** The numbers of the settings that matter to the point's method. @param {Point} point */
function describeSettings({ method, settings }) {
  if (method === "planned" && settings) return describeWish(settings);
  const { tau_c, tau_p, decay, max_skip, warm_up, tail, ...others } = settings ?? {};
  const own =
    method === "scope"
      ? numbers([[t("cache below"), tau_c], [t("predict below"), tau_p], [t("decay"), decay]])
      : Object.entries(others).filter(isTelling).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  if (!own.length) return "";
  const run = Number.isFinite(max_skip) ? [t("at most {count} skipped in a row", { count: max_skip })] : [];
  return asSentence([...own, ...run, ...numbers([[t("warm-up"), warm_up || null], [t("tail"), tail || null]])].join(t(", ")));
}

/** What planned steps were asked for, and what they promise. @param {Record<string, any>} settings */
function describeWish({ at_least: speed, fidelity, expected, correct }) {
  const wish = fidelity ? t("At least {decibels} dB wanted", { decibels: decimal(fidelity) }) : t("At least {factor}x fewer wanted", { factor: decimal(speed) });
  if (!Number.isFinite(expected) || correct === false) return asSentence(wish);
  return t("{wish}, about {decibels} dB promised by its plan.", { wish, decibels: expected.toFixed(1) });
}

/** @param {[name: string, value: unknown]} setting */
function isTelling([name, value]) {
  return !SHARED_SETTINGS.has(name) && ["number", "string"].includes(typeof value) && value !== "none";
}

/** @param {[name: string, value: any][]} settings */
function numbers(settings) {
  return settings.filter(([, value]) => Number.isFinite(value)).map(([name, value]) => `${name} ${decimal(value)}`);
}
