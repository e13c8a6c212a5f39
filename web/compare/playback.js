/**
 * Playing clips in step: which frame, when, and how far apart.
 *
 * @typedef {{fps: number, frames: number}} Timing
 * @typedef {[from: number, to: number]} Loop Frames that are repeated, without the last.
 */

import { clamp } from "../lib/clamp.js";

const ROUNDING = 0.1; // of a frame: clips store times as multiples of a small unit
const FARTHEST_APART = 3; // frames that a change of speed may still catch up with
const CATCH_UP_SECONDS = 0.1;
const LARGEST_CHANGE_OF_SPEED = 0.3;

/** The middle of a frame: seeking to its edge may show the neighbour. @param {number} frame @param {number} fps */
export function timeOf(frame, fps) {
  return (frame + 0.5) / fps;
}

/** @param {number} seconds @param {Timing} timing */
export function frameAt(seconds, { fps, frames }) {
  return clamp(Math.floor(seconds * fps + ROUNDING), 0, frames - 1);
}

/**
 * A chunk, or the clip if `chunk` is null.
 *
 * @param {{chunks: Loop[], frames: number}} comparison
 * @param {number|null} chunk
 * @returns {Loop}
 */
export function loopOf({ chunks, frames }, chunk) {
  return chunk === null ? [0, frames] : chunks[chunk];
}

/**
 * Where playing starts: here, or at the loop's start if this frame is its last or lies outside.
 *
 * @param {number} frame
 * @param {Loop} loop
 */
export function startOf(frame, [from, to]) {
  return frame >= from && frame < to - 1 ? frame : from;
}

/**
 * How a clip gets back into step with the one it follows.
 *
 * @param {number} ahead Seconds of the clip.
 * @param {number} speed
 * @param {number} fps
 * @returns {number|null} Its speed; null if it is too far away and has to jump.
 */
export function followingSpeed(ahead, speed, fps) {
  if (Math.abs(ahead) * fps > FARTHEST_APART) return null;
  const change = clamp(ahead / speed / CATCH_UP_SECONDS, -LARGEST_CHANGE_OF_SPEED, LARGEST_CHANGE_OF_SPEED);
  return speed * (1 - change);
}
