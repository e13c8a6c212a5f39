/**
 * The logic of playing two clips in step: which frame, when, and how far apart. Nothing here touches the page.
 *
 * @typedef {{filename: string, subfolder: string, type: string}} FileReference
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
 * @property {(number|null)[]} [psnr] By frame; null where both clips are identical.
 */

import { readPayload } from "./payload.js";

export const SPEEDS = [1, 0.5, 0.25];
export const GAINS = [1, 2, 4, 8, 16, 32];

const ROUNDING = 0.1; // of a frame: clips store times as multiples of a small unit
const FARTHEST_APART = 3; // frames that a change of speed may still catch up with
const CATCH_UP_SECONDS = 0.1;
const LARGEST_CHANGE_OF_SPEED = 0.3;
const CURVE_TOP = 0.15; // the part above is for identical frames

/** @returns {Comparison} */
export function parseComparison(payload) {
  const comparison = readPayload(payload, { format: "scope.compare", version: 1, name: "comparison" });
  return { ...comparison, chunks: comparison.chunks ?? [], psnr: comparison.psnr ?? [] };
}

/** The middle of a frame: seeking to its edge may show the neighbour. */
export function timeOf(frame, fps) {
  return (frame + 0.5) / fps;
}

export function frameAt(seconds, { fps, frames }) {
  return clamp(Math.floor(seconds * fps + ROUNDING), 0, frames - 1);
}

/** @returns {number} The chunk of a frame, -1 for none. */
export function chunkAt(frame, chunks) {
  return chunks.findIndex(([from, to]) => frame >= from && frame < to);
}

/** Frames [from, to) that are repeated: a chunk, or the clip if `chunk` is null. */
export function loopOf({ chunks, frames }, chunk) {
  return chunk === null ? [0, frames] : chunks[chunk];
}

/** Where playing starts: here, or at the loop's start if this frame is its last or lies outside. */
export function startOf(frame, [from, to]) {
  return frame >= from && frame < to - 1 ? frame : from;
}

/**
 * How a clip gets back into step with the one it follows.
 *
 * @param {number} ahead Seconds of the clip.
 * @returns {number|null} Its speed; null if it is too far away and has to jump.
 */
export function followingSpeed(ahead, speed, fps) {
  if (Math.abs(ahead) * fps > FARTHEST_APART) return null;
  const change = clamp(ahead / speed / CATCH_UP_SECONDS, -LARGEST_CHANGE_OF_SPEED, LARGEST_CHANGE_OF_SPEED);
  return speed * (1 - change);
}

/** What the difference shows at a gain, given the gain that was built into its clip. */
export function describeGain(gain, builtIn) {
  const clipped = gain < builtIn ? ` Differences above ${Math.round(255 / builtIn)} of 255 levels all look the same here.` : "";
  return `How far apart the two pictures are, times ${gain}, measured before compression. Black: no difference.${clipped}`;
}

/** "Frame 12 / 60 · 0.50 s · chunk 1 · 38.2 dB" */
export function describeFrame(frame, { fps, frames, chunks, psnr }) {
  const chunk = chunkAt(frame, chunks);
  return [
    `Frame ${frame} / ${frames - 1}`,
    `${(frame / fps).toFixed(2)} s`,
    chunk >= 0 && `chunk ${chunk + 1}`,
    frame in psnr && (psnr[frame] === null ? "identical" : `${psnr[frame].toFixed(1)} dB`),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Points of an SVG polyline in a box that is one wide per frame and one high; identical frames lie on its upper edge. */
export function curvePoints(psnr) {
  const [low, high] = psnrRange(psnr);
  const height = (value) => (value === null ? 0 : CURVE_TOP + (1 - CURVE_TOP) * (high > low ? (high - value) / (high - low) : 0));
  return psnr.map((value, frame) => `${frame + 0.5},${height(value).toFixed(4)}`).join(" ");
}

/** @returns {[number, number]} */
export function psnrRange(psnr) {
  const values = psnr.filter((value) => value !== null);
  return [Math.min(...values), Math.max(...values)];
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
