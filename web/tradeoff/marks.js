/**
 * The points of the chart: what each costs and is worth, and which of them are worth having.
 *
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Runs} Runs
 *
 * @typedef {"seconds"|"evaluations"} Cost
 *
 * @typedef {object} View What the chart shows.
 * @property {Runs|null} runs
 * @property {Point[]} plan
 * @property {Point|null} current Setting of the sampler.
 * @property {Cost} x
 * @property {string|undefined} metric
 *
 * @typedef {"baseline"|"front"|"dominated"|"planned"} Kind
 *
 * @typedef {object} Mark A point of the chart.
 * @property {Point} point
 * @property {Kind} kind
 * @property {number} x
 * @property {number} y Goodness, more is better: infinite where identical to the baseline, NaN where only planned.
 * @property {boolean} ringed It is the setting of the sampler.
 * @property {Point} [beatenBy]
 */

import { baselineOf, hasSameSettings, isSamePoint } from "./runs.js";

export const CURRENT_LABEL = "current setting";

/** @type {Kind[]} What matters most is drawn last. */
const DRAWING_ORDER = ["dominated", "front", "planned", "baseline"];

/** Of the costs, as a share: of the clock by which every setting was timed once. @type {Record<Cost, number>} */
export const NOISE = { seconds: 0.05, evaluations: 0 };

/** @type {Record<Cost, (point: Point, baseline: Point|null) => number>} */
const COSTS = { seconds: ({ seconds }) => seconds ?? NaN, evaluations: evaluationsOf };

/**
 * What a run cost in whole evaluations, judged by forward passes: methods that skip some of the blocks pay for the others.
 *
 * @param {Point} point
 * @param {Point|null} baseline
 */
export function evaluationsOf({ computed, forwards = 0 }, baseline) {
  const ofBaseline = baseline?.forwards ?? 0;
  return baseline && forwards > 0 && ofBaseline > 0 ? (baseline.computed * forwards) / ofBaseline : computed;
}

/** @param {View} view @returns {Mark[]} In drawing order. */
export function marksOf(view) {
  const { current } = view;
  const marks = [...measuredMarks(view), ...plannedMarks(view)];
  const known = current && marks.find(({ point }) => hasSameSettings(point, current));
  if (known) known.ringed = true;
  else if (current) marks.push({ ...plannedMark({ ...current, label: CURRENT_LABEL }, view), ringed: true });
  return marks
    .filter(({ x }) => Number.isFinite(x))
    .sort((a, b) => DRAWING_ORDER.indexOf(a.kind) - DRAWING_ORDER.indexOf(b.kind));
}

/** @param {View} view */
function measuredMarks({ runs, x, metric }) {
  if (!runs) return [];
  const baseline = baselineOf(runs.points);
  /** @type {Mark[]} */
  const marks = runs.points.map((point) => ({
    point,
    kind: point === baseline ? "baseline" : "front",
    x: COSTS[x](point, baseline),
    y: goodness(point, metric, runs.metrics),
    ringed: false,
  }));
  const comparable = marks.filter((mark) => Number.isFinite(mark.x) && !Number.isNaN(mark.y));
  const front = paretoFront(comparable, NOISE[x]);
  for (const mark of comparable) {
    if (front.has(mark) || mark.kind === "baseline") continue;
    mark.kind = "dominated";
    mark.beatenBy = [...front].find((other) => dominates(other, mark, NOISE[x]))?.point;
  }
  return comparable;
}

/** @param {Point} point @param {string|undefined} name @param {Runs["metrics"]} metrics */
function goodness(point, name, metrics) {
  if (point.baseline || point.identical) return Infinity;
  if (name === undefined || !metrics[name] || !Number.isFinite(point[name])) return NaN;
  return metrics[name].better === "lower" ? -point[name] : point[name];
}

/**
 * The marks that no other beats; of marks at the same place, all.
 *
 * @template {{x: number, y: number}} T Less x and more y is better.
 * @param {T[]} marks
 * @param {number} [noise] Of x, as a share of it.
 * @returns {Set<T>}
 */
export function paretoFront(marks, noise) {
  return new Set(marks.filter((mark) => !marks.some((other) => dominates(other, mark, noise))));
}

/** Whether a is better by more than noise. @param {{x: number, y: number}} a @param {{x: number, y: number}} b @param {number} [noise] */
export function dominates(a, b, noise = 0) {
  return a.x <= b.x * (1 - noise) && a.y >= b.y && (a.x < b.x || a.y > b.y);
}

/** @param {View} view */
function plannedMarks(view) {
  const measured = view.runs?.points ?? [];
  return view.plan.filter((point) => !measured.some((other) => isSamePoint(other, point))).map((point) => plannedMark(point, view));
}

/**
 * By the time that an evaluation of the baseline takes, where the chart is about time.
 *
 * @param {Point} point
 * @param {View} view
 * @returns {Mark}
 */
function plannedMark(point, { runs, x }) {
  const baseline = baselineOf(runs?.points ?? []);
  const secondsEach = baseline?.seconds === undefined ? NaN : baseline.seconds / baseline.computed;
  return { point, kind: "planned", x: point.computed * (x === "seconds" ? secondsEach : 1), y: NaN, ringed: false };
}
