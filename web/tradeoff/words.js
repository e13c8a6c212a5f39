/**
 * The chart and its points in words.
 *
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./marks.js").View} View
 * @typedef {import("./runs.js").Metric} Metric
 * @typedef {import("./runs.js").Point} Point
 */

import { shortUnit } from "../lib/fidelity.js";
import { decimal, duration, factorText, roughDuration } from "../lib/formats.js";
import { asSentence } from "../lib/sentences.js";
import { CURRENT_LABEL, evaluationsOf } from "./marks.js";
import { BASELINE_LABEL, baselineOf, isSamePoint } from "./runs.js";

const SHARED_SETTINGS = new Set(["method", "aggregate", "selective", "joint"]);

/** The chart as a whole. @param {View} view */
export function titleOf({ runs, plan }) {
  const count = runs ? runs.points.length : plan.length;
  const counted = `${count} ${count === 1 ? "setting" : "settings"} ${runs ? "measured" : "planned"}`;
  return [runs?.model, counted].filter(Boolean).join(": ");
}

/**
 * How far a sweep is: what is not measured yet takes as long for each evaluation as the run without SCOPE.
 *
 * @param {View} view
 * @param {string} running Name of the setting that is being run.
 */
export function progressOf({ runs, plan }, running) {
  const measured = runs?.points ?? [];
  const left = plan.filter((point) => !measured.some((other) => isSamePoint(other, point)));
  const baseline = baselineOf(measured);
  const seconds = baseline?.seconds ? left.reduce((sum, { computed }) => sum + computed, 0) * (baseline.seconds / baseline.computed) : 0;
  const parts = [`Run ${plan.length - left.length + 1} of ${plan.length}`, running, seconds > 0 && `about ${roughDuration(seconds)} left`];
  return parts.filter(Boolean).join(", ");
}

/** Why planned settings are missing from the chart, if they are. @param {View} view */
export function noteOfPlan({ runs, plan, current, x }) {
  const isTimed = (baselineOf(runs?.points ?? [])?.seconds ?? 0) > 0;
  if (x === "evaluations" || isTimed || !(plan.length || current)) return "";
  return "Settings that are only planned appear under Evaluations, because no unaccelerated run was timed.";
}

/** @param {Mark} mark @param {View} view @returns {{title: string, lines: string[]}} */
export function describePoint(mark, { runs, plan }) {
  const { point, kind } = mark;
  const baseline = baselineOf(runs?.points ?? []) ?? (kind === "planned" ? baselineOf(plan) : null);
  return {
    title: mark.ringed && point.label !== CURRENT_LABEL ? `${nameOf(point)}, ${CURRENT_LABEL}` : nameOf(point),
    lines: [
      `${describeEvaluations(point, baseline)} ${kind === "planned" ? "Not measured yet." : describeSeconds(point, baseline)}`,
      describeQuality(mark, runs?.metrics ?? {}),
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
  const blocks = cost > computed * 1.1 ? `, with the blocks run in between as many as ${cost.toFixed(1)}` : "";
  const fewer = baseline && !point.baseline ? `, ${factorText(baseline.computed / cost, "fewer", "more")}` : "";
  return `${computed}${iterations ? ` of ${iterations}` : ""} evaluations${blocks}${fewer}.`;
}

/** @param {Point} point @param {Point|null} baseline */
function describeSeconds({ seconds = 0, baseline: isBaseline }, baseline) {
  if (!(seconds > 0)) return "";
  const full = baseline?.seconds ?? 0;
  const faster = full > 0 && !isBaseline ? `, ${factorText(full / seconds, "faster", "slower", 1)}` : "";
  return `Measured once: ${duration(seconds)}${faster}.`;
}

/** @param {Mark} mark @param {Record<string, Metric>} metrics */
function describeQuality({ point, kind }, metrics) {
  if (kind === "planned") return "";
  if (kind === "baseline") return "The others are compared with this run.";
  if (point.identical) return "Identical to the unaccelerated run.";
  const known = Object.entries(metrics).filter(([name]) => Number.isFinite(point[name]));
  const parts = known.map(([name, metric]) => valuesText(metric, point[name], point[`${name}_worst`]));
  return parts.length ? `${parts.join(", ")}.` : "Quality was not measured.";
}

/** @param {Metric} metric @param {number} mean @param {number|undefined} worst */
function valuesText(metric, mean, worst) {
  const value = [qualityText(mean, metric), shortUnit(metric)].filter(Boolean).join(" ");
  return `${metric.label} ${value}${Number.isFinite(worst) ? ` (worst frame ${qualityText(Number(worst), metric)})` : ""}`;
}

/** @param {number} value @param {Metric} metric */
function qualityText(value, { unit, better }) {
  if (unit === "dB") return value.toFixed(1);
  return better === "lower" ? decimal(value) : value.toFixed(4);
}

/** @param {Mark} mark */
function describeStanding({ point, kind, beatenBy }) {
  if (point.baseline) return "Every step computed.";
  if (kind === "planned") return "";
  if (!beatenBy) return "No other setting beats it.";
  return `Beaten by ${beatenBy.baseline ? `the run ${BASELINE_LABEL}` : beatenBy.label}.`;
}

/** The numbers of the settings that matter to the point's method. @param {Point} point */
function describeSettings({ method, settings }) {
  if (method === "planned" && settings) return describeWish(settings);
  const { tau_c, tau_p, decay, max_skip, warm_up, tail, ...others } = settings ?? {};
  const own =
    method === "scope"
      ? numbers([["cache below", tau_c], ["predict below", tau_p], ["decay", decay]])
      : Object.entries(others).filter(isTelling).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  if (!own.length) return "";
  const run = Number.isFinite(max_skip) ? [`at most ${max_skip} skipped in a row`] : [];
  return asSentence([...own, ...run, ...numbers([["warm-up", warm_up || null], ["tail", tail || null]])].join(", "));
}

/** What planned steps were asked for, and what they promise. @param {Record<string, any>} settings */
function describeWish({ at_least: speed, fidelity, expected, correct }) {
  const wish = fidelity ? `At least ${decimal(fidelity)} dB wanted` : `At least ${decimal(speed)}x fewer wanted`;
  return asSentence(Number.isFinite(expected) && correct !== false ? `${wish}, about ${expected.toFixed(1)} dB promised by its plan` : wish);
}

/** @param {[name: string, value: unknown]} setting */
function isTelling([name, value]) {
  return !SHARED_SETTINGS.has(name) && ["number", "string"].includes(typeof value) && value !== "none";
}

/** @param {[name: string, value: any][]} settings */
function numbers(settings) {
  return settings.filter(([, value]) => Number.isFinite(value)).map(([name, value]) => `${name} ${decimal(value)}`);
}
