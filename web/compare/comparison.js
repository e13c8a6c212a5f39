/**
 * Two clips of one video, as Python writes them, in words and as a curve.
 *
 * @typedef {import("../comfy_adapter.js").FileReference} FileReference
 *
 * @typedef {object} Comparison
 * @property {string} format
 * @property {number} version
 * @property {FileReference} a
 * @property {FileReference} b
 * @property {FileReference} difference A clip of |a - b| times `gain`.
 * @property {number} gain
 * @property {[string, string]} labels
 * @property {number} fps
 * @property {number} frames
 * @property {number} width
 * @property {number} height
 * @property {[number, number][]} chunks Frames [from, to) of every chunk; may be empty.
 * @property {string[]} unlike In what the two runs differ besides their settings, such as "seed".
 * @property {(number|null)[]} psnr By frame; null where both clips are identical; may be empty.
 */

import { chunkAt, timeText } from "../lib/clip.js";
import { t } from "../lib/language.js";
import { readPayload } from "../lib/payload.js";

const CURVE_TOP = 0.15; // the part above is for identical frames

/** @param {unknown} payload @returns {Comparison} */
export function parseComparison(payload) {
  const comparison = readPayload(payload, { format: "scope.compare", version: 1, name: "comparison" });
  return { ...comparison, chunks: comparison.chunks ?? [], psnr: comparison.psnr ?? [], unlike: comparison.unlike ?? [] };
}

/** A warning where the two are not one video made in two ways. @param {string[]} unlike */
export function warningOf(unlike) {
  if (!unlike.length) return "";
  const names = namesOfUnlike();
  const what = unlike.map((name) => names[name] ?? name).reduce((first, second) => t("{first} and {second}", { first, second }));
  return t("The two runs differ in {what}, so this does not show what the settings changed.", { what });
}

/** @returns {Record<string, string>} Of what Python says in English. */
function namesOfUnlike() {
  return { seed: t("seed"), prompt: t("prompt"), "size or length": t("size or length"), steps: t("steps") };
}

/**
 * What the difference shows at a gain, given the gain that was built into its clip.
 *
 * @param {number} gain
 * @param {number} builtIn
 */
export function describeGain(gain, builtIn) {
  const meaning = t("How far apart the two pictures are, times {gain}, measured before compression. Black: no difference.", { gain });
  if (gain >= builtIn) return meaning;
  return `${meaning} ${t("Differences above {level} of 255 levels all look the same here.", { level: Math.round(255 / builtIn) })}`;
}

/**
 * "Frame 12 / 60 · 0.50 s · chunk 1 · 38.2 dB"
 *
 * @param {number} frame
 * @param {Pick<Comparison, "fps"|"frames"|"chunks"|"psnr">} comparison
 */
export function describeFrame(frame, { fps, frames, chunks, psnr }) {
  const chunk = chunkAt(frame, chunks);
  const value = psnr[frame];
  return [
    t("Frame {frame} / {last}", { frame, last: frames - 1 }),
    timeText(frame, fps),
    chunk >= 0 && t("chunk {number}", { number: chunk + 1 }),
    frame in psnr && (value === null ? t("identical") : `${value.toFixed(1)} dB`),
  ]
    .filter(Boolean)
    .join(" · ");
}

/**
 * Points of an SVG polyline in a box that is one wide per frame and one high; identical frames lie on its upper edge.
 *
 * @param {(number|null)[]} psnr
 */
export function curvePoints(psnr) {
  const [low, high] = psnrRange(psnr);
  const scale = (/** @type {number} */ value) => (high > low ? (high - value) / (high - low) : 0);
  const heights = psnr.map((value) => (value === null ? 0 : CURVE_TOP + (1 - CURVE_TOP) * scale(value)));
  return heights.map((height, frame) => `${frame + 0.5},${height.toFixed(4)}`).join(" ");
}

/** @param {(number|null)[]} psnr @returns {[number, number]} Infinite where there are no numbers. */
export function psnrRange(psnr) {
  const values = psnr.filter((value) => value !== null);
  return [Math.min(...values), Math.max(...values)];
}
