/**
 * Where everything of the curve lies, in pixels.
 *
 * @typedef {import("./measurement.js").MeasuredMetric} MeasuredMetric
 * @typedef {import("./measurement.js").Quality} Quality
 * @typedef {ReturnType<typeof layoutCurve>} CurveLayout
 */

import { linear, paddedRange, ticks } from "../lib/axes.js";
import { clamp } from "../lib/clamp.js";

const MARGIN = { left: 66, right: 10, top: 22, bottom: 18 };
const CHUNK_ROW = 16;
const IDENTICAL_LANE = 16;
const LABEL_ROOM = 0.2; // of the range, so that the label of the worst frame fits under the curve
const TICK_ROOM = { x: 50, y: 32 };

/**
 * Identical frames lie on the upper edge, above a lane that no number reaches.
 *
 * @param {Pick<Quality, "frames"|"chunks">} quality
 * @param {Pick<MeasuredMetric, "per_frame">} metric
 * @param {{width: number, height: number, top?: number}} room
 */
export function layoutCurve({ frames, chunks }, { per_frame: values }, { width, height, top = 0 }) {
  const plotTop = top + MARGIN.top + (chunks.length ? CHUNK_ROW : 0);
  const plot = {
    left: MARGIN.left,
    right: Math.max(width - MARGIN.right, MARGIN.left + 1),
    top: plotTop,
    bottom: Math.max(height - MARGIN.bottom, plotTop + IDENTICAL_LANE + 1),
  };
  const numbers = values.filter((value) => value !== null);
  const hasIdentical = numbers.length < values.length;
  const range = /** @type {[number, number]} */ (numbers.length ? paddedRange(numbers, LABEL_ROOM) : [0, 1]);
  const scale = linear(range, [plot.bottom, plot.top + (hasIdentical ? IDENTICAL_LANE : 0)]);
  const edge = linear([0, frames], [plot.left, plot.right]);
  const x = (/** @type {number} */ frame) => edge(frame + 0.5);
  const y = (/** @type {number|null} */ value) => (value === null ? plot.top : scale(value));
  const yCount = Math.max(2, Math.floor((plot.bottom - plot.top) / TICK_ROOM.y));
  const xCount = clamp(Math.floor((plot.right - plot.left) / TICK_ROOM.x), 1, frames);
  return {
    plot,
    titleY: top + 8,
    hasIdentical,
    x,
    y,
    points: values.map((value, frame) => ({ x: x(frame), y: y(value) })),
    xTicks: ticks(0, frames, xCount).filter((frame) => frame < frames),
    yTicks: numbers.length ? ticks(...range, yCount) : [],
    chunks: chunks.map(([from, to]) => ({ left: edge(from), right: edge(to) })),
    frameAt: (/** @type {number} */ px) => clamp(Math.floor(((px - plot.left) / (plot.right - plot.left)) * frames), 0, frames - 1),
  };
}
