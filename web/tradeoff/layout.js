/**
 * Where everything of the chart lies, in pixels.
 *
 * @typedef {import("../lib/text_measure.js").Measure} Measure
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./marks.js").View} View
 *
 * @typedef {{from: number, to: number, ends: number[]}} Bar Pixels of an interval, and those of its ends that are in sight.
 * @typedef {{px: number, py: number, method: number, across: Bar|null, upright: Bar|null}} Place `method` is its place in the list of
 *   methods.
 * @typedef {Mark & Place} Symbol A mark where it lies.
 * @typedef {ReturnType<typeof layoutChart>} Layout
 */

import { assignLanes, placeAllLabels, shortLabel } from "./labels.js";
import { legendOf, placeLegend } from "./legend.js";
import { intervalOf, judgeOf, marksOf } from "./marks.js";
import { scaleOfCost, scaleOfFactors, scaleOfQuality, titleOfQuality } from "./scales.js";
import { FONT_SIZE, LINE_HEIGHT } from "./sizes.js";

const MARGIN = { left: 78, right: 14 };
const AXIS_HEIGHT = 18;
const LANE_HEIGHT = 18;
const RAIL_GAP = 6;
const MOST_LANES = { below: 3, alone: 8 };
const OWN_METHOD = "scope";

/**
 * @param {View} view
 * @param {{width: number, top?: number, bottom: number, labelAll?: boolean, measure: Measure}} options `top` and `bottom` of the
 *   room there is; without `labelAll`, settings that others beat have no label.
 */
export function layoutChart(view, { width, top = 0, bottom, labelAll = false, measure }) {
  const marks = marksOf(view);
  const methods = methodsOf(view);
  const legend = placeLegend(legendOf(marks, methods), width, top, measure);
  /** @type {[number, number]} */
  const edges = [MARGIN.left, width - MARGIN.right];
  const { xOf, axis } = scaleOfCost(marks, view, edges);

  const lanes = lanesOf(marks, xOf, measure);
  const railHeight = lanes.size ? LANE_HEIGHT * (Math.max(...lanes.values()) + 1) : 0;
  const plotTop = top + legend.height + LINE_HEIGHT;
  const rail = { x: edges[0], y: bottom - AXIS_HEIGHT - railHeight, width: edges[1] - edges[0], height: railHeight };
  const plot = { ...rail, y: plotTop, height: rail.y - (railHeight ? RAIL_GAP : 0) - plotTop };
  const quality = scaleOfQuality(view, marks, plot);

  /** @type {Symbol[]} */
  const symbols = marks.map((mark) => {
    const lane = lanes.get(mark);
    const py = lane === undefined ? quality.yOf(mark.y) : rail.y + (lane + 0.5) * LANE_HEIGHT;
    return {
      ...mark,
      px: xOf(mark.x),
      py,
      method: methods.indexOf(mark.point.method),
      across: barOf(intervalOf(mark, "x", view), xOf, edges),
      upright: barOf(intervalOf(mark, "y", view), quality.yOf, [plot.y, plot.y + plot.height]),
    };
  });
  const front = frontOf(symbols, judgeOf(view));
  const markerX = symbols.find(({ kind }) => kind === "baseline")?.px ?? null;
  return {
    plot,
    rail,
    topRow: quality.top,
    legend: legend.entries,
    symbols,
    front,
    markerX,
    x: axis,
    factor: scaleOfFactors(view.x, referenceOf(view, symbols), xOf, edges),
    y: { title: titleOfQuality(view, plot.height, measure), ticks: quality.ticks },
    labels: placeAllLabels(symbols, front, { markerX, topRow: quality.top, plot, rail, labelAll }, measure),
    measured: symbols.some(({ kind }) => kind !== "planned"),
  };
}

/** The own one first. @param {View} view */
function methodsOf({ runs, plan }) {
  const named = [...(runs?.points ?? []), ...plan].filter((point) => !point.baseline).map(({ method }) => method);
  return [...new Set(named)].sort((a, b) => Number(b === OWN_METHOD) - Number(a === OWN_METHOD) || a.localeCompare(b));
}

/**
 * Lanes of the planned marks, which have no quality yet.
 *
 * @param {Mark[]} marks
 * @param {(value: number) => number} xOf
 * @param {Measure} measure
 */
function lanesOf(marks, xOf, measure) {
  const planned = marks.filter(({ kind }) => kind === "planned");
  const most = planned.length === marks.length ? MOST_LANES.alone : MOST_LANES.below;
  const items = planned.map(({ x, point }) => ({ position: xOf(x), width: measure(shortLabel(point.label), FONT_SIZE) }));
  const lanes = assignLanes(items, most);
  return new Map(planned.map((mark, index) => [mark, lanes[index]]));
}

/**
 * @param {[number, number]|null} interval
 * @param {(value: number) => number} pixelOf
 * @param {[number, number]} edges
 * @returns {Bar|null}
 */
function barOf(interval, pixelOf, [low, high]) {
  if (!interval) return null;
  const [from, to] = interval.map(pixelOf).sort((a, b) => a - b);
  return { from: Math.max(from, low), to: Math.min(to, high), ends: [from, to].filter((end) => end >= low && end <= high) };
}

/** From left to right. @param {Symbol[]} symbols @param {(a: Symbol, b: Symbol) => boolean} beats */
function frontOf(symbols, beats) {
  const isBeaten = (/** @type {Symbol} */ symbol) => symbols.some((other) => other.kind === "front" && beats(other, symbol));
  return symbols
    .filter((symbol) => symbol.kind === "front" || (symbol.kind === "baseline" && !isBeaten(symbol)))
    .sort((a, b) => a.px - b.px || b.py - a.py);
}

/**
 * Cost of the baseline that factors refer to: the measured one, or for evaluations the planned one.
 *
 * @param {View} view
 * @param {Symbol[]} symbols
 */
function referenceOf(view, symbols) {
  const measured = symbols.find(({ kind }) => kind === "baseline");
  const planned = symbols.find(({ kind, point }) => kind === "planned" && point.baseline);
  return (measured ?? (view.x === "evaluations" ? planned : undefined))?.x ?? NaN;
}
