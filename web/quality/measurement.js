/**
 * How far every frame is from the unaccelerated run, as Python writes it, and in words.
 *
 * @typedef {object} FrameValues
 * @property {(number|null)[]} per_frame Null where the frames are identical.
 * @property {number|null} mean
 * @property {number|null} worst
 * @property {number|null} worst_frame
 *
 * @typedef {import("../lib/fidelity.js").Metric & FrameValues} MeasuredMetric
 *
 * @typedef {object} Quality
 * @property {number} frames
 * @property {number} fps
 * @property {[number, number][]} chunks Frames [from, to) of every chunk; may be empty.
 * @property {Record<string, MeasuredMetric>} metrics
 * @property {string[]} notes
 */

import { chunkAt, timeText } from "../lib/clip.js";
import { decimal } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { readPayload } from "../lib/payload.js";

const DIGITS = 4;

/** @param {unknown} payload @returns {Quality} */
export function parseQuality(payload) {
  const quality = readPayload(payload, { format: "scope.quality", version: 1, name: "quality measurement" });
  return { ...quality, chunks: quality.chunks ?? [], notes: quality.notes ?? [] };
}

/** "36.2 dB", "0.991", "identical" @param {number|null} value @param {{unit: string}} metric */
export function valueText(value, { unit }) {
  return unit && value !== null ? `${numberText(value)} ${unit}` : numberText(value);
}

/** Enough digits to tell neighbours apart, without a tail of noise. @param {number|null} value */
export function numberText(value) {
  return value === null ? t("identical") : decimal(value, DIGITS);
}

/** @param {Pick<Quality, "metrics">} quality @returns {string[][]} Rows of a table, the first of them its head. */
export function summaryOf({ metrics }) {
  const rows = Object.values(metrics).map(({ label, unit, mean, worst, worst_frame: frame }) => [
    unit ? `${label} (${unit})` : label,
    numberText(mean),
    numberText(worst),
    worst === null ? "" : String(frame),
  ]);
  return [["", t("Mean"), t("Worst"), t("in frame")], ...rows];
}

/** All values of one frame. @param {Quality} quality @param {number} frame */
export function describeFrame({ fps, chunks, metrics }, frame) {
  const chunk = chunkAt(frame, chunks);
  const place = [
    t("Frame {frame}", { frame }),
    timeText(frame, fps),
    chunk >= 0 && t("chunk {number} of {count}", { number: chunk + 1, count: chunks.length }),
  ];
  const values = Object.values(metrics).map((metric) => `${metric.label} ${valueText(metric.per_frame[frame], metric)}`);
  return `${place.filter(Boolean).join(t(", "))}\n${values.join(" · ")}`;
}
