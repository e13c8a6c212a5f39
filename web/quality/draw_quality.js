/**
 * Drawing the curve.
 *
 * @typedef {import("../lib/theme.js").Theme} Theme
 * @typedef {import("./layout_curve.js").CurveLayout} CurveLayout
 * @typedef {import("./measurement.js").MeasuredMetric} MeasuredMetric
 * @typedef {import("./measurement.js").Quality} Quality
 */

import { createSvg } from "../lib/elements.js";
import { meaning } from "../lib/fidelity.js";
import { t } from "../lib/language.js";
import { circle, frame as edge, gridLine, halo, line, pictureOf, textAt } from "../lib/svg_shapes.js";
import { layoutCurve } from "./layout_curve.js";
import { numberText, valueText } from "./measurement.js";

const SIZE = 10;
const CAPTION = { height: 48, margin: 12, titleSize: 15, size: 11 };
const SMALLEST_CHUNK_LABEL = 14;

/**
 * @param {Quality} quality
 * @param {MeasuredMetric} metric
 * @param {{width: number, height: number, theme: Theme, hasCaption?: boolean}} options The caption adds the numbers and what they mean.
 */
export function drawQuality(quality, metric, { width, height, theme, hasCaption = false }) {
  const layout = layoutCurve(quality, metric, { width, height, top: hasCaption ? CAPTION.height : 0 });
  const cursorLayer = createSvg("g");
  const svg = pictureOf(width, height, theme, [
    ...(hasCaption ? drawCaption(metric, theme) : []),
    ...drawAxes(metric, layout, theme),
    ...drawChunks(layout, theme),
    drawCurve(layout, theme),
    ...drawMean(metric, layout, theme),
    ...drawWorst(metric, layout, theme),
    cursorLayer,
  ]);
  return { svg, layout, cursorLayer };
}

/** @param {MeasuredMetric} metric @param {Theme} theme */
function drawCaption(metric, theme) {
  const { margin, titleSize, size } = CAPTION;
  const [mean, worst] = [valueText(metric.mean, metric), valueText(metric.worst, metric)];
  const numbers = t("{metric}: mean {mean}, worst {worst}", { metric: metric.label, mean, worst });
  return [
    textAt(numbers, margin, 18, titleSize, { fill: theme.text, "font-weight": "bold" }),
    textAt(meaning(), margin, 37, size, { fill: theme.muted }),
  ];
}

/** @param {MeasuredMetric} metric @param {CurveLayout} layout @param {Theme} theme */
function drawAxes({ label, unit, better }, { plot, titleY, hasIdentical, x, y, xTicks, yTicks }, theme) {
  const { left, right, top, bottom } = plot;
  const dark = { fill: theme.text, "text-anchor": "end" };
  const muted = { fill: theme.muted, "text-anchor": "end" };
  const name = unit ? t("{metric} in {unit}", { metric: label, unit }) : label;
  const title = better === "higher" ? t("{metric}, higher is better", { metric: name }) : t("{metric}, lower is better", { metric: name });
  return [
    edge({ x: left, y: top, width: right - left, height: bottom - top }, theme),
    ...(hasIdentical ? [textAt(t("identical"), left - 5, top, SIZE, muted)] : []),
    ...yTicks.flatMap((value) => [gridLine(left, y(value), right, y(value), theme), textAt(numberText(value), left - 5, y(value), SIZE, dark)]),
    ...xTicks.map((frame) => textAt(String(frame), x(frame), bottom + 10, SIZE, { fill: theme.text, "text-anchor": "middle" })),
    textAt(t("video frame"), left - 5, bottom + 10, SIZE, muted),
    textAt(title, left, titleY, SIZE, { fill: theme.muted }),
  ];
}

/** @param {CurveLayout} layout @param {Theme} theme */
function drawChunks({ plot, chunks }, theme) {
  if (!chunks.length) return [];
  const y = plot.top - 12;
  const centred = { fill: theme.text, "text-anchor": "middle" };
  return [
    textAt(t("chunk"), plot.left - 5, y, SIZE, { fill: theme.muted, "text-anchor": "end" }),
    ...chunks.slice(1).map(({ left }) => line(left, y - 6, left, plot.bottom, { stroke: theme.muted, "stroke-dasharray": "3 3" })),
    ...chunks.flatMap(({ left, right }, index) =>
      right - left < SMALLEST_CHUNK_LABEL ? [] : textAt(String(index + 1), (left + right) / 2, y, SIZE, centred),
    ),
  ];
}

/** @param {CurveLayout} layout @param {Theme} theme */
function drawCurve({ points }, theme) {
  const corners = points.map(({ x, y }) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");
  return createSvg("polyline", { points: corners, fill: "none", stroke: theme.strong, "stroke-width": 1.5, "stroke-linejoin": "round" });
}

/**
 * Its label stands at the end that is farther from the worst frame.
 *
 * @param {MeasuredMetric} metric
 * @param {CurveLayout} layout
 * @param {Theme} theme
 */
function drawMean({ mean, worst_frame: frame }, { plot, x, y }, theme) {
  if (mean === null) return [];
  const atLeft = frame !== null && x(frame) > (plot.left + plot.right) / 2;
  const label = atLeft ? { x: plot.left + 4, anchor: "start" } : { x: plot.right - 4, anchor: "end" };
  return [
    line(plot.left, y(mean), plot.right, y(mean), { stroke: theme.text, "stroke-dasharray": "6 4", "stroke-opacity": 0.7 }),
    textAt(t("mean {value}", { value: numberText(mean) }), label.x, y(mean) - 7, SIZE, { fill: theme.text, ...halo(theme), "text-anchor": label.anchor }),
  ];
}

/** @param {MeasuredMetric} metric @param {CurveLayout} layout @param {Theme} theme */
function drawWorst({ worst, worst_frame: frame, better }, { plot, x, y }, theme) {
  if (worst === null || frame === null) return [];
  const [px, py] = [x(frame), y(worst)];
  const share = (px - plot.left) / (plot.right - plot.left);
  const isBelow = better === "higher" && py + 18 < plot.bottom;
  const anchor = share < 0.2 ? "start" : share > 0.8 ? "end" : "middle";
  const label = t("worst: {value} in frame {frame}", { value: numberText(worst), frame });
  return [
    circle(px, py, 4, { fill: theme.accent, stroke: theme.background }),
    textAt(label, px, py + (isBelow ? 12 : -12), SIZE, { fill: theme.text, ...halo(theme), "text-anchor": anchor }),
  ];
}

/** Mark one frame. @param {CurveLayout} layout @param {number} frame @param {Theme} theme */
export function drawCursor({ plot, points }, frame, theme) {
  const { x, y } = points[frame];
  return [
    line(x, plot.top, x, plot.bottom, { stroke: theme.text, "stroke-dasharray": "1 2" }),
    circle(x, y, 3.5, { fill: theme.background, stroke: theme.text, "stroke-width": 1.5 }),
  ];
}
