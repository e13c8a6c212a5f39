/**
 * The quality of every frame as a curve, in an SVG that carries its own colours and fonts, and in words.
 *
 * @typedef {import("./draw_trace.js").Theme} Theme
 *
 * @typedef {object} Metric
 * @property {string} label
 * @property {string} unit
 * @property {"higher"|"lower"} better
 * @property {(number|null)[]} per_frame Null where the frames are identical.
 * @property {number|null} mean
 * @property {number|null} worst
 * @property {number|null} worst_frame
 *
 * @typedef {object} Quality
 * @property {number} frames
 * @property {number} fps
 * @property {[number, number][]} chunks Frames [from, to) of every chunk; may be empty.
 * @property {Record<string, Metric>} metrics
 * @property {string[]} notes
 */

import { MEANING, linear, paddedRange, shortNumber, ticks } from "./axes.js";
import { createSvg } from "./elements.js";
import { readPayload } from "./payload.js";
import { chunkAt, clamp } from "./playback.js";
import { LOOK } from "./trace.js";


const FONT = { "font-family": "system-ui, sans-serif", "font-size": 10 };
const MARGIN = { left: 52, right: 10, top: 22, bottom: 18 };
const CHUNK_ROW = 16;
const IDENTICAL_LANE = 16;
const CAPTION_HEIGHT = 48;
const LABEL_ROOM = 0.2; // of the range, so that the label of the worst frame fits under the curve
const TICK_ROOM = { x: 50, y: 32 };
const SMALLEST_CHUNK_LABEL = 14;

/** @returns {Quality} */
export function parseQuality(payload) {
  const quality = readPayload(payload, { format: "scope.quality", version: 1, name: "quality measurement" });
  return { ...quality, chunks: quality.chunks ?? [], notes: quality.notes ?? [] };
}

/** "36.2 dB", "0.991", "identical" */
export function valueText(value, { unit }) {
  return unit && value !== null ? `${numberText(value)} ${unit}` : numberText(value);
}

function numberText(value) {
  return value === null ? "identical" : shortNumber(value);
}

/** @returns {string[][]} Rows of a table, the first of them its head. */
export function summaryOf({ metrics }) {
  const rows = Object.values(metrics).map(({ label, unit, mean, worst, worst_frame: frame }) => [
    unit ? `${label} (${unit})` : label,
    numberText(mean),
    numberText(worst),
    worst === null ? "" : String(frame),
  ]);
  return [["", "Mean", "Worst", "in frame"], ...rows];
}

/** All values of one frame. */
export function describeFrame({ fps, chunks, metrics }, frame) {
  const chunk = chunkAt(frame, chunks);
  const place = [`Frame ${frame}`, `${(frame / fps).toFixed(2)} s`, chunk >= 0 && `chunk ${chunk + 1} of ${chunks.length}`];
  const values = Object.values(metrics).map((metric) => `${metric.label} ${valueText(metric.per_frame[frame], metric)}`);
  return `${place.filter(Boolean).join(", ")}\n${values.join(" · ")}`;
}

/**
 * Where everything lies. Identical frames lie on the upper edge, above a lane that no number reaches.
 *
 * @param {Quality} quality
 * @param {Metric} metric
 */
export function layoutCurve({ frames, chunks }, metric, { width, height, top = 0 }) {
  const plotTop = top + MARGIN.top + (chunks.length ? CHUNK_ROW : 0);
  const plot = {
    left: MARGIN.left,
    right: Math.max(width - MARGIN.right, MARGIN.left + 1),
    top: plotTop,
    bottom: Math.max(height - MARGIN.bottom, plotTop + IDENTICAL_LANE + 1),
  };
  const numbers = metric.per_frame.filter((value) => value !== null);
  const hasIdentical = numbers.length < metric.per_frame.length;
  const range = numbers.length ? paddedRange(numbers, LABEL_ROOM) : [0, 1];
  const scale = linear(range, [plot.bottom, plot.top + (hasIdentical ? IDENTICAL_LANE : 0)]);
  const edge = linear([0, frames], [plot.left, plot.right]);
  const x = (frame) => edge(frame + 0.5);
  const y = (value) => (value === null ? plot.top : scale(value));
  const yCount = Math.max(2, Math.floor((plot.bottom - plot.top) / TICK_ROOM.y));
  const xCount = clamp(Math.floor((plot.right - plot.left) / TICK_ROOM.x), 1, frames);
  return {
    plot,
    titleY: top + 8,
    hasIdentical,
    x,
    y,
    points: metric.per_frame.map((value, frame) => [x(frame), y(value)]),
    xTicks: ticks(0, frames, xCount).filter((frame) => frame < frames),
    yTicks: numbers.length ? ticks(...range, yCount) : [],
    chunks: chunks.map(([from, to]) => ({ left: edge(from), right: edge(to) })),
    frameAt: (px) => clamp(Math.floor(((px - plot.left) / (plot.right - plot.left)) * frames), 0, frames - 1),
  };
}

/**
 * @param {Quality} quality
 * @param {Metric} metric
 * @param {{width: number, height: number, theme: Theme, caption?: boolean}} options `caption` adds the numbers and what they mean.
 */
export function drawQuality(quality, metric, { width, height, theme, caption = false }) {
  const layout = layoutCurve(quality, metric, { width, height, top: caption ? CAPTION_HEIGHT : 0 });
  const svg = createSvg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...FONT }, [
    createSvg("rect", { width, height, fill: theme.background }),
    ...(caption ? drawCaption(metric, theme) : []),
    ...drawAxes(metric, layout, theme),
    ...drawChunks(layout, theme),
    createSvg("polyline", {
      points: layout.points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" "),
      fill: "none",
      stroke: theme.fills[LOOK.recompute],
      "stroke-width": 1.5,
      "stroke-linejoin": "round",
    }),
    ...drawMean(metric, layout, theme),
    ...drawWorst(metric, layout, theme),
  ]);
  return { svg, layout };
}

/** Mark one frame in a drawn curve. */
export function drawCursor({ plot, points }, frame, theme) {
  const [x, y] = points[frame];
  return createSvg("g", {}, [
    line(x, plot.top, x, plot.bottom, { stroke: theme.text, "stroke-dasharray": "1 2" }),
    createSvg("circle", { cx: x, cy: y, r: 3.5, fill: theme.background, stroke: theme.text, "stroke-width": 1.5 }),
  ]);
}

function drawCaption(metric, theme) {
  const numbers = `${metric.label}: mean ${valueText(metric.mean, metric)}, worst ${valueText(metric.worst, metric)}`;
  return [
    text(numbers, 12, 18, { fill: theme.text, "font-size": 15, "font-weight": "bold" }),
    text(MEANING, 12, 37, { fill: theme.muted, "font-size": 11 }),
  ];
}

function drawAxes({ label, unit, better }, { plot, titleY, hasIdentical, x, y, xTicks, yTicks }, theme) {
  const right = { fill: theme.text, "text-anchor": "end" };
  const title = `${unit ? `${label} in ${unit}` : label}, ${better} is better`;
  const box = { x: plot.left, y: plot.top, width: plot.right - plot.left, height: plot.bottom - plot.top };
  return [
    createSvg("rect", { ...box, fill: "none", stroke: theme.muted, "stroke-opacity": 0.45 }),
    ...(hasIdentical ? [text("identical", plot.left - 5, plot.top, { ...right, fill: theme.muted })] : []),
    ...yTicks.map((value) => line(plot.left, y(value), plot.right, y(value), { stroke: theme.muted, "stroke-opacity": 0.22 })),
    ...yTicks.map((value) => text(shortNumber(value), plot.left - 5, y(value), right)),
    ...xTicks.map((frame) => text(String(frame), x(frame), plot.bottom + 10, { fill: theme.text, "text-anchor": "middle" })),
    text("frame", plot.left - 5, plot.bottom + 10, { ...right, fill: theme.muted }),
    text(title, plot.left, titleY, { fill: theme.muted }),
  ];
}

function drawChunks({ plot, chunks }, theme) {
  if (!chunks.length) return [];
  const y = plot.top - 12;
  return [
    text("chunk", plot.left - 5, y, { fill: theme.muted, "text-anchor": "end" }),
    ...chunks.slice(1).map(({ left }) => line(left, y - 6, left, plot.bottom, { stroke: theme.muted, "stroke-dasharray": "3 3" })),
    ...chunks.flatMap(({ left, right }, index) => {
      if (right - left < SMALLEST_CHUNK_LABEL) return [];
      return text(String(index + 1), (left + right) / 2, y, { fill: theme.text, "text-anchor": "middle" });
    }),
  ];
}

/** Its label stands at the end that is farther from the worst frame. */
function drawMean({ mean, worst_frame: frame }, { plot, x, y }, theme) {
  if (mean === null) return [];
  const atLeft = frame !== null && x(frame) > (plot.left + plot.right) / 2;
  const label = atLeft ? { x: plot.left + 4, anchor: "start" } : { x: plot.right - 4, anchor: "end" };
  return [
    line(plot.left, y(mean), plot.right, y(mean), { stroke: theme.text, "stroke-dasharray": "6 4", "stroke-opacity": 0.7 }),
    text(`mean ${shortNumber(mean)}`, label.x, y(mean) - 7, { ...halo(theme), "text-anchor": label.anchor }),
  ];
}

function drawWorst({ worst, worst_frame: frame, better }, { plot, x, y }, theme) {
  if (worst === null) return [];
  const [px, py] = [x(frame), y(worst)];
  const share = (px - plot.left) / (plot.right - plot.left);
  const below = better === "higher" && py + 18 < plot.bottom;
  const anchor = share < 0.2 ? "start" : share > 0.8 ? "end" : "middle";
  return [
    createSvg("circle", { cx: px, cy: py, r: 4, fill: theme.fills[LOOK.predict], stroke: theme.background }),
    text(`worst: ${shortNumber(worst)} in frame ${frame}`, px, py + (below ? 12 : -12), { ...halo(theme), "text-anchor": anchor }),
  ];
}

/** Readable above a curve, too. */
function halo(theme) {
  return { fill: theme.text, stroke: theme.background, "stroke-width": 3, "paint-order": "stroke" };
}

function line(x1, y1, x2, y2, attributes) {
  return createSvg("line", { x1, y1, x2, y2, ...attributes });
}

function text(content, x, y, attributes) {
  return createSvg("text", { x, y, "dominant-baseline": "central", ...attributes }, [content]);
}
