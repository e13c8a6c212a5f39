/**
 * Runs of one video at several settings, as Python writes them.
 *
 * @typedef {import("../lib/fidelity.js").Metric} Metric
 * @typedef {import("../comfy_adapter.js").FileReference} FileReference
 *
 * @typedef {object} Setting What a point has whether it is measured or only planned.
 * @property {string} label
 * @property {string} method
 * @property {boolean} [baseline] Every step computed: the reference that the others are compared with.
 * @property {Record<string, any>} [settings]
 * @property {Record<string, any>|null} [widgets] Null: the sampler has no sliders for these settings.
 * @property {Record<string, any>|null} [selected] Widgets of SCOPE Settings; null: it does not offer the method.
 * @property {number} iterations
 * @property {number} computed Iterations that evaluated the model.
 *
 * @typedef {object} Measured What is missing while a point is only planned.
 * @property {number} [forwards] Passes through all blocks of the model.
 * @property {number} [seconds]
 * @property {boolean} [identical] Frame for frame the same as the baseline.
 * @property {FileReference|null} [clip]
 * @property {FileReference} [difference] A clip of how far it is from the baseline's, times `gain`.
 * @property {number} [gain]
 * @property {number} [frames]
 * @property {number} [width]
 * @property {number} [height]
 * @property {[number, number][]} [chunks]
 * @property {(number|null)[]} [psnr_per_frame]
 * @property {string} [seed]
 * @property {string} [first_seed] Of the sweep.
 * @property {number} [prompt] Counted from 1.
 * @property {Point[]} [clips] The runs that a point of several clips is the mean of.
 *
 * @typedef {Record<number, number>} Quantiles Of Student's t, by number of clips: the standard errors to each side of a 95 % interval.
 * @typedef {Setting & Measured & Record<string, any>} Point The mean of metric m is `point[m]`, its worst frame `point[m + "_worst"]`.
 *
 * @typedef {object} Runs
 * @property {string} format
 * @property {number} version
 * @property {string} [model]
 * @property {number} [fps]
 * @property {Record<string, Metric>} metrics
 * @property {string[]} notes
 * @property {Point[]} points
 * @property {Quantiles} [quantiles] Missing where there is one clip, and while more are being made.
 */

import { t } from "../lib/language.js";
import { PayloadError, readPayload } from "../lib/payload.js";
import { clipsOf, keyOf, withClip } from "./clips.js";

const EXPECTED = { format: "scope.runs", version: 1, name: "sweep" };

export const nameOfBaseline = () => t("without SCOPE");

/** @param {unknown} payload @returns {Runs} */
export function parseRuns(payload) {
  const runs = readPayload(payload, EXPECTED);
  const { metrics, notes, points } = runs;
  if (!Array.isArray(points) || !points.every(isPoint)) throw new PayloadError("The points of this SCOPE sweep cannot be read.");
  return {
    ...runs,
    points,
    metrics: Object.fromEntries(Object.entries(metrics ?? {}).filter(([, metric]) => typeof metric?.label === "string")),
    notes: Array.isArray(notes) ? notes.filter((note) => typeof note === "string") : [],
  };
}

/** @param {any} point @returns {point is Point} */
export function isPoint(point) {
  return typeof point?.label === "string" && Number.isFinite(point.computed) && point.computed > 0;
}

/**
 * Whether a live event has the shape that Python sends.
 *
 * @param {any} event
 * @returns {event is {run: object, point: Point}}
 */
export function isPointEvent(event) {
  const { run, point } = event;
  return run?.format === EXPECTED.format && run.version <= EXPECTED.version && isPoint(point);
}

/**
 * The runs with one more point, with one more clip of a point, or with a newer measurement. Another model starts anew, and so does a
 * baseline that is not of one more clip.
 *
 * @param {Runs|null} runs
 * @param {{run: object, point: Point}} event
 * @returns {Runs}
 */
export function withPoint(runs, event) {
  const { point } = event;
  const added = parseRuns({ ...event.run, points: [point] });
  if (!runs || runs.model !== added.model || (baselineOf([point]) && !isFurtherClip(runs, point))) return added;
  const metrics = { ...runs.metrics, ...added.metrics };
  const known = runs.points.find((other) => isSamePoint(other, point) && isOfOneSweep(other, point));
  const points = [...runs.points.filter((other) => !isSamePoint(other, point)), known ? withClip(known, point, metrics) : point];
  return { ...added, metrics, points };
}

/** @param {Runs} runs @param {Point} point */
function isFurtherClip({ points }, point) {
  const baseline = baselineOf(points);
  return baseline && isOfOneSweep(baseline, point) && clipsOf(baseline).every((clip) => keyOf(clip) !== keyOf(point));
}

/** @param {Point} a @param {Point} b */
function isOfOneSweep(a, b) {
  return a.first_seed !== undefined && a.first_seed === b.first_seed;
}

/** Whether both are the same measurement, perhaps at different times. @param {Point} a @param {Point} b */
export function isSamePoint(a, b) {
  return a.label === b.label && a.method === b.method && hasSameSettings(a, b);
}

/** Whether both would compute the same video. @param {Point} a @param {Point} b */
export function hasSameSettings(a, b) {
  return a.iterations === b.iterations && ((a.baseline && b.baseline) || canonical(a.settings) === canonical(b.settings));
}

/** @param {Point["settings"]} settings */
function canonical(settings) {
  return JSON.stringify(Object.entries(settings ?? {}).sort());
}

/**
 * The reference; a run with the same settings that was compared with it is a point like any other.
 *
 * @param {Point[]} points
 */
export function baselineOf(points) {
  return points.find((point) => point.baseline && point.identical === undefined) ?? null;
}

/** @param {Runs|null} runs */
export function hasSeconds(runs) {
  return Boolean(runs?.points.some(({ seconds = 0 }) => seconds > 0));
}
