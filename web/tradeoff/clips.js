/**
 * A setting on several clips: means with their 95 % intervals, and settings compared clip by clip, as scope_core/study/paired.py does.
 *
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Quantiles} Quantiles
 * @typedef {{mean: number, half: number}} Mean `half` of the interval; infinite while too little is known.
 */

import { t } from "../lib/language.js";

const EQUAL_DB = 100; // that stand for equal videos, whose PSNR is infinite
const COSTS = ["computed", "forwards", "seconds"];

/** The runs of a point, one for every clip. @param {Point} point @returns {Point[]} */
export function clipsOf(point) {
  return point.clips ?? [point];
}

/** Clips that two points have in common have the same key. @param {Point} clip */
export function keyOf({ seed = "", prompt = 1 }) {
  return `${seed}/${prompt}`;
}

/** @param {{points: Point[]}|null} runs */
export function clipCount(runs) {
  return Math.max(1, ...(runs?.points ?? []).map((point) => clipsOf(point).length));
}

/** A cost or a figure on every clip; empty where it was not measured. @param {Point} point @param {string} name @returns {number[]} */
export function valuesOf(point, name) {
  const clips = clipsOf(point);
  const isEqual = (/** @type {Point} */ clip) => name === "psnr" && clip.identical && !clips.every(({ identical }) => identical);
  const values = clips.map((clip) => (isEqual(clip) ? EQUAL_DB : clip[name]));
  return values.every(Number.isFinite) ? values : [];
}

/** @param {number[]} values @param {Quantiles} [quantiles] @returns {Mean} Exact for a single value, of which no more can be said. */
export function meanOf(values, quantiles = {}) {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2 || !Number.isFinite(mean)) return { mean, half: 0 };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  return { mean, half: variance ? (quantiles[count] ?? Infinity) * Math.sqrt(variance / count) : 0 };
}

/**
 * By how much a is above b on the clips that both have.
 *
 * @param {Map<string, number>} a By key of the clip.
 * @param {Map<string, number>} b
 */
export function differences(a, b) {
  const common = [...a.keys()].filter((key) => b.has(key));
  return common.map((key) => (a.get(key) === b.get(key) ? 0 : Number(a.get(key)) - Number(b.get(key))));
}

/**
 * A point with one more clip, or with a clip that was made again.
 *
 * @param {Point} point
 * @param {Point} clip
 * @param {Record<string, import("../lib/fidelity.js").Metric>} metrics
 * @returns {Point}
 */
export function withClip(point, clip, metrics) {
  const clips = [...clipsOf(point).filter((other) => keyOf(other) !== keyOf(clip)), clip];
  if (clips.length === 1) return clip;
  /** @type {Point} */
  const together = { ...clips[0], clips };
  for (const name of [...COSTS, ...Object.keys(metrics)]) {
    const values = valuesOf(together, name);
    if (values.length) together[name] = meanOf(values).mean;
  }
  for (const [name, { better }] of Object.entries(metrics)) {
    const worst = clips.map((each) => each[`${name}_worst`]).filter(Number.isFinite);
    if (worst.length) together[`${name}_worst`] = better === "lower" ? Math.max(...worst) : Math.min(...worst);
  }
  if ("identical" in clip) together.identical = clips.every(({ identical }) => identical);
  return together;
}

/** Of a clip among others: "clip 2, seed 6", and the prompt where there are several. @param {Point} clip @param {Point[]} clips */
export function nameOfClip(clip, clips) {
  const hasPrompts = clips.some(({ prompt }) => prompt !== clip.prompt);
  return [
    t("clip {number}", { number: clips.indexOf(clip) + 1 }),
    t("seed {seed}", { seed: clip.seed ?? "" }),
    hasPrompts && t("prompt {number}", { number: clip.prompt ?? 1 }),
  ].filter(Boolean).join(t(", "));
}
