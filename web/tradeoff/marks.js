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
 * @property {number} [clips] How many a sweep makes with every setting.
 * @property {Cost} x
 * @property {string|undefined} metric
 *
 * @typedef {{clip: string, x: number, y: number}} Trial
 *
 * @typedef {"baseline"|"front"|"dominated"|"planned"} Kind
 *
 * @typedef {object} Mark A point of the chart.
 * @property {Point} point
 * @property {Kind} kind
 * @property {number} x
 * @property {number} y Goodness, more is better: infinite where identical to the baseline, NaN where only planned.
 * @property {Trial[]} trials What x and y are the means of, one for every clip.
 * @property {boolean} ringed It is the setting of the sampler.
 * @property {Point} [beatenBy]
 */

import { t } from "../lib/language.js";
import { clipsOf, differences, keyOf, meanOf, valuesOf } from "./clips.js";
import { baselineOf, hasSameSettings, isSamePoint } from "./runs.js";

export const nameOfCurrent = () => t("current setting");

/** @type {Kind[]} What matters most is drawn last. */
const DRAWING_ORDER = ["dominated", "front", "planned", "baseline"];

/** Of the costs of one clip, as a share: of the clock by which every setting was timed once. @type {Record<Cost, number>} */
const NOISE = { seconds: 0.05, evaluations: 0 };

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
  else if (current) marks.push({ ...plannedMark({ ...current, label: nameOfCurrent() }, view), ringed: true });
  return marks
    .filter(({ x }) => Number.isFinite(x))
    .sort((a, b) => DRAWING_ORDER.indexOf(a.kind) - DRAWING_ORDER.indexOf(b.kind));
}

/** @param {View} view */
function measuredMarks(view) {
  const { runs, x, metric } = view;
  if (!runs) return [];
  const baseline = baselineOf(runs.points);
  /** @type {Mark[]} */
  const marks = runs.points.map((point) => {
    const trials = trialsOf(point, baseline, x, goodness(point, metric, runs.metrics));
    const [costs, good] = [trials.map((trial) => trial.x), trials.map((trial) => trial.y)];
    return { point, kind: point === baseline ? "baseline" : "front", x: meanOf(costs).mean, y: meanOf(good).mean, trials, ringed: false };
  });
  const comparable = marks.filter((mark) => Number.isFinite(mark.x) && !Number.isNaN(mark.y));
  const beats = judgeOf(view);
  const front = paretoFront(comparable, beats);
  for (const mark of comparable) {
    if (front.has(mark) || mark.kind === "baseline") continue;
    mark.kind = "dominated";
    mark.beatenBy = [...front].find((other) => beats(other, mark))?.point;
  }
  return comparable;
}

/** @param {Point} point @param {Point|null} baseline @param {Cost} cost @param {number[]} good On every clip. @returns {Trial[]} */
function trialsOf(point, baseline, cost, good) {
  const references = new Map(baseline ? clipsOf(baseline).map((clip) => [keyOf(clip), clip]) : []);
  return clipsOf(point).map((clip, index) => {
    const key = keyOf(clip);
    return { clip: key, x: COSTS[cost](clip, references.get(key) ?? baseline), y: good[index] };
  });
}

/** On every clip. @param {Point} point @param {string|undefined} name @param {Runs["metrics"]} metrics @returns {number[]} */
function goodness(point, name, metrics) {
  const clips = clipsOf(point);
  if (point.baseline || point.identical) return clips.map(() => Infinity);
  const values = name !== undefined && metrics[name] ? valuesOf(point, name) : [];
  if (!values.length) return clips.map(() => NaN);
  return name && metrics[name].better === "lower" ? values.map((value) => -value) : values;
}

/**
 * The marks that no other beats; of marks at the same place, all.
 *
 * @param {Mark[]} marks
 * @param {(a: Mark, b: Mark) => boolean} beats
 */
export function paretoFront(marks, beats) {
  return new Set(marks.filter((mark) => !marks.some((other) => beats(other, mark))));
}

/** Whether a costs less or is worth more, by more than noise, and neither is worse. @param {Mark} a @param {Mark} b @param {number} noise */
function dominates(a, b, noise) {
  return a.x <= b.x * (1 - noise) && a.y >= b.y && (a.x < b.x || a.y > b.y);
}

/**
 * Whether one mark beats another. Of several clips, the intervals of the differences on the same clips have to say so on both axes.
 *
 * @param {View} view
 * @returns {(a: Mark, b: Mark) => boolean}
 */
export function judgeOf({ runs, x }) {
  return (a, b) => {
    if (Math.max(a.trials.length, b.trials.length) < 2) return dominates(a, b, NOISE[x]);
    const cost = meanOf(differences(byClip(a, "x"), byClip(b, "x")), runs?.quantiles);
    const gain = meanOf(differences(byClip(a, "y"), byClip(b, "y")), runs?.quantiles);
    return cost.mean + cost.half <= 0 && gain.mean - gain.half >= 0 && (cost.mean < 0 || gain.mean > 0);
  };
}

/** @param {Mark} mark @param {"x"|"y"} axis */
function byClip({ trials }, axis) {
  return new Map(trials.map((trial) => [trial.clip, trial[axis]]));
}

/**
 * The 95 % interval of a mark on an axis; null where there is one clip, or where it is not known yet.
 *
 * @param {Mark} mark
 * @param {"x"|"y"} axis
 * @param {View} view
 * @returns {[number, number]|null}
 */
export function intervalOf({ trials }, axis, { runs }) {
  const { mean, half } = meanOf(trials.map((trial) => trial[axis]), runs?.quantiles);
  return trials.length > 1 && half > 0 && Number.isFinite(half) ? [mean - half, mean + half] : null;
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
  return { point, kind: "planned", x: point.computed * (x === "seconds" ? secondsEach : 1), y: NaN, trials: [], ringed: false };
}
