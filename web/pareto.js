/**
 * Runs of one video at several settings: which are worth having, where each lies in the chart, and how to say it in words.
 * Nothing here touches the page, so it also runs in tests.
 *
 * @typedef {object} Point One setting; measured fields are missing while it is only planned.
 * @property {string} label
 * @property {string} method
 * @property {boolean} [baseline] Every step computed: the reference that the others are compared with.
 * @property {Record<string, any>} [settings]
 * @property {Record<string, any>|null} [widgets] Null: the sampler has no sliders for these settings.
 * @property {number} iterations
 * @property {number} computed Iterations that evaluated the model.
 * @property {number} [seconds]
 * @property {boolean} [identical] Frame for frame the same as the baseline.
 * @property {object|null} [clip]
 *
 * @typedef {{label: string, unit: string, better: "higher"|"lower"}} Metric
 *
 * @typedef {object} Runs
 * @property {string} format
 * @property {number} version
 * @property {string} [model]
 * @property {Record<string, Metric>} metrics The mean of metric m is `point[m]`, its worst frame `point[m + "_worst"]`.
 * @property {string[]} notes
 * @property {Point[]} points
 *
 * @typedef {object} View What the chart shows.
 * @property {Runs|null} runs
 * @property {Point[]} plan
 * @property {Point|null} current Setting of the sampler.
 * @property {"seconds"|"evaluations"} x
 * @property {string|undefined} metric
 *
 * @typedef {"baseline"|"front"|"dominated"|"planned"} Kind
 *
 * @typedef {object} Mark A point of the chart.
 * @property {Point} point
 * @property {Kind} kind
 * @property {number} x
 * @property {number} y Goodness, more is better: infinite where identical to the baseline, NaN where only planned.
 * @property {boolean} ringed It is the setting of the sampler.
 * @property {Point} [beatenBy]
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 */

import { linear, paddedRange, shortNumber, tickStep, ticks } from "./axes.js";
import { textWidth } from "./brush.js";
import { PayloadError, readPayload } from "./payload.js";
import { decimal, duration } from "./trace.js";

export const FORMAT = "scope.runs";
export const VERSION = 1;
export const FONT_SIZE = 11;
export const SYMBOL_RADIUS = 5;
export const STAR_RADIUS = 8;
export const RING_RADIUS = 9;
export const BASELINE_LABEL = "without SCOPE";

const CURRENT_LABEL = "current setting";
const OWN_METHOD = "scope";
const MARGIN = { left: 78, right: 14 };
const LONGEST_LABEL = 24;
const LINE_HEIGHT = 15;
const TOP_ROW_HEIGHT = 22;
const LANE_HEIGHT = 18;
const RAIL_GAP = 6;
const MOST_LANES = { below: 3, alone: 8 };
const AXIS_HEIGHT = 18;
const TITLE_GAP = 14;
const FACTORS = [1, 2, 4, 3, 8, 1.5, 6, 5, 10, 16, 20, 0.5, 2.5, 12, 32, 50, 0.75, 1.25, 3.5, 100];
const SHARED_SETTINGS = new Set(["method", "aggregate", "selective", "joint"]);
const REFERENCE_VALUE = { ssim: 1 };

const AXES = {
  seconds: { title: "seconds", factorTitle: "times faster", of: (point) => point.seconds },
  evaluations: { title: "evaluations", factorTitle: "times fewer", of: evaluationsOf },
};

/** What a run cost in whole evaluations, judged by forward passes: methods that skip some of the blocks pay for the others. */
function evaluationsOf({ computed, forwards }, baseline) {
  return forwards > 0 && baseline?.forwards > 0 ? (baseline.computed * forwards) / baseline.forwards : computed;
}

/** @returns {Runs} */
export function parseRuns(payload) {
  const { metrics, notes, points } = readPayload(payload, { format: FORMAT, version: VERSION, name: "sweep" });
  if (!Array.isArray(points) || !points.every(isPoint)) throw new PayloadError("The points of this SCOPE sweep cannot be read.");
  return {
    ...payload,
    points,
    metrics: Object.fromEntries(Object.entries(metrics ?? {}).filter(([, metric]) => typeof metric?.label === "string")),
    notes: Array.isArray(notes) ? notes.filter((note) => typeof note === "string") : [],
  };
}

export function isPoint(point) {
  return typeof point?.label === "string" && Number.isFinite(point.computed) && point.computed > 0;
}

/** Whether a live event has the shape that Python sends. */
export function isPointEvent({ run, point }) {
  return run?.format === FORMAT && run.version <= VERSION && isPoint(point);
}

/**
 * The runs with one more point, or with a newer measurement of a point. A baseline, or another model, starts anew.
 *
 * @param {Runs|null} runs
 * @param {{run: object, point: Point}} event
 * @returns {Runs}
 */
export function withPoint(runs, event) {
  const { point } = event;
  const added = parseRuns({ ...event.run, points: [point] });
  if (!runs || runs.model !== added.model || baselineOf([point])) return added;
  const points = [...runs.points.filter((other) => !isSamePoint(other, point)), point];
  return { ...added, metrics: { ...runs.metrics, ...added.metrics }, points };
}

/** Whether both are the same measurement, perhaps at different times. */
export function isSamePoint(a, b) {
  return a.label === b.label && a.method === b.method && hasSameSettings(a, b);
}

/** Whether both would compute the same video. */
export function hasSameSettings(a, b) {
  return a.iterations === b.iterations && ((a.baseline && b.baseline) || canonical(a.settings) === canonical(b.settings));
}

function canonical(settings) {
  return JSON.stringify(Object.entries(settings ?? {}).sort());
}

/** The reference; a run with the same settings that was compared with it is a point like any other. */
export function baselineOf(points) {
  return points.find((point) => point.baseline && point.identical === undefined) ?? null;
}

/** @param {View} view */
export function hasSeconds({ runs }) {
  return Boolean(runs?.points.some((point) => point.seconds > 0));
}

/**
 * @param {View} view
 * @returns {Mark[]} In drawing order: what matters most comes last.
 */
export function marksOf(view) {
  const { current } = view;
  const marks = [...measuredMarks(view), ...plannedMarks(view)];
  const known = current && marks.find(({ point }) => hasSameSettings(point, current));
  if (known) known.ringed = true;
  else if (current) marks.push({ ...plannedMark({ ...current, label: CURRENT_LABEL }, view), ringed: true });
  const order = ["dominated", "front", "planned", "baseline"];
  return marks.filter(({ x }) => Number.isFinite(x)).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
}

function plannedMarks(view) {
  const measured = view.runs?.points ?? [];
  return view.plan.filter((point) => !measured.some((other) => isSamePoint(other, point))).map((point) => plannedMark(point, view));
}

function plannedMark(point, { runs, x }) {
  const baseline = baselineOf(runs?.points ?? []);
  const perEvaluation = x === "seconds" ? baseline?.seconds / baseline?.computed : 1;
  return { point, kind: "planned", x: point.computed * perEvaluation, y: NaN, ringed: false };
}

function measuredMarks({ runs, x, metric }) {
  if (!runs) return [];
  const baseline = baselineOf(runs.points);
  const marks = runs.points.map((point) => ({
    point,
    kind: point === baseline ? "baseline" : "front",
    x: AXES[x].of(point, baseline),
    y: goodness(point, metric, runs.metrics[metric]),
    ringed: false,
  }));
  const comparable = marks.filter((mark) => Number.isFinite(mark.x) && !Number.isNaN(mark.y));
  const front = paretoFront(comparable);
  for (const mark of comparable) {
    if (front.has(mark) || mark.kind === "baseline") continue;
    mark.kind = "dominated";
    mark.beatenBy = [...front].find((other) => dominates(other, mark)).point;
  }
  return comparable;
}

function goodness(point, name, metric) {
  if (point.baseline || point.identical) return Infinity;
  const value = point[name];
  if (!metric || !Number.isFinite(value)) return NaN;
  return metric.better === "lower" ? -value : value;
}

/**
 * The marks that no other beats; of marks at the same place, all.
 *
 * @template {{x: number, y: number}} T Less x and more y is better.
 * @param {T[]} marks
 * @returns {Set<T>}
 */
export function paretoFront(marks) {
  return new Set(marks.filter((mark) => !marks.some((other) => dominates(other, mark))));
}

function dominates(a, b) {
  return a.x <= b.x && a.y >= b.y && (a.x < b.x || a.y > b.y);
}

/**
 * Where everything lies, in pixels.
 *
 * @param {View} view
 * @param {{width: number, top?: number, bottom: number, labelAll?: boolean}} options `top` and `bottom` of the room there is;
 *   without `labelAll`, settings that others beat have no label.
 */
export function layoutChart(view, { width, top = 0, bottom, labelAll = false }) {
  const marks = marksOf(view);
  const named = [...(view.runs?.points ?? []), ...view.plan].filter((point) => !point.baseline).map(({ method }) => method);
  const methods = [...new Set(named)].sort((a, b) => (b === OWN_METHOD) - (a === OWN_METHOD) || a.localeCompare(b));
  const legend = placeLegend(legendOf(marks, methods), width, top);
  const axisX = AXES[view.x];
  const [left, right] = [MARGIN.left, width - MARGIN.right];

  const rangeX = marks.length ? paddedRange(marks.map(({ x }) => x), 0.06) : [0, 1];
  const xOf = linear([Math.max(0, rangeX[0]), rangeX[1]], [left, right]);
  const planned = marks.filter(({ kind }) => kind === "planned");
  const mostLanes = planned.length === marks.length ? MOST_LANES.alone : MOST_LANES.below;
  const lanes = assignLanes(planned.map(({ x, point }) => ({ position: xOf(x), text: shortLabel(point) })), mostLanes);
  const railHeight = planned.length ? LANE_HEIGHT * (Math.max(...lanes) + 1) : 0;

  const plotTop = top + legend.height + LINE_HEIGHT;
  const rail = { x: left, y: bottom - AXIS_HEIGHT - railHeight, width: right - left, height: railHeight };
  const plot = { x: left, y: plotTop, width: right - left, height: rail.y - (railHeight ? RAIL_GAP : 0) - plotTop };
  const scaleY = scaleOfQuality(view, marks, plot);

  const symbols = marks.map((mark) => ({
    ...mark,
    px: xOf(mark.x),
    py: mark.kind === "planned" ? rail.y + (lanes[planned.indexOf(mark)] + 0.5) * LANE_HEIGHT : scaleY.of(mark.y),
    method: methods.indexOf(mark.point.method),
  }));
  const front = symbols
    .filter((symbol) => symbol.kind === "front" || (symbol.kind === "baseline" && isOnFront(symbol, symbols)))
    .sort((a, b) => a.px - b.px || b.py - a.py);
  const reference = referenceOf(view, symbols, xOf);
  return {
    plot,
    rail,
    topRow: scaleY.top,
    legend: legend.entries,
    symbols,
    front,
    markerX: reference.markerX,
    x: { title: axisX.title, ticks: ticksOfX(view.x, rangeX, xOf, [left, right]) },
    factor: { title: axisX.factorTitle, ticks: ticksOfFactor(reference.value, xOf, [left, right]) },
    y: { ...titleOfQuality(view, plot.height), ticks: scaleY.ticks },
    labels: placeAllLabels(symbols, front, { markerX: reference.markerX, topRow: scaleY.top, plot, rail, labelAll }),
    measured: symbols.some(({ kind }) => kind !== "planned"),
  };
}

function isOnFront(symbol, symbols) {
  return !symbols.some((other) => other.kind === "front" && dominates(other, symbol));
}

/** The baseline that factors refer to: the measured one, or for evaluations the planned one. */
function referenceOf(view, symbols, xOf) {
  const measured = symbols.find(({ kind }) => kind === "baseline");
  const planned = symbols.find(({ kind, point }) => kind === "planned" && point.baseline);
  const value = (measured ?? (view.x === "evaluations" ? planned : null))?.x;
  return { value, markerX: measured ? xOf(measured.x) : null };
}

function scaleOfQuality({ runs, metric }, marks, plot) {
  const top = plot.y + TOP_ROW_HEIGHT / 2;
  const values = marks.map(({ y }) => y).filter(Number.isFinite);
  if (!values.length) return { top, ticks: [], of: () => top };
  const { better } = runs.metrics[metric];
  const best = better === "lower" ? 0 : REFERENCE_VALUE[metric] ?? Infinity;
  const [low, high] = paddedRange(values, 0.12);
  const range = [low, Math.min(high, best)];
  const scale = linear(range, [plot.y + plot.height - SYMBOL_RADIUS, plot.y + TOP_ROW_HEIGHT + SYMBOL_RADIUS]);
  return {
    top,
    ticks: ticks(...range, Math.max(2, plot.height / 36)).map((value) => ({ position: scale(value), text: shortNumber(Math.abs(value)) })),
    of: (value) => (value === Infinity ? top : scale(value)),
  };
}

function titleOfQuality({ runs, metric }, room) {
  const known = runs?.metrics[metric];
  if (!known) return { title: "" };
  const name = known.unit && known.unit.length < 4 ? `${known.label} in ${known.unit}` : known.label;
  const smaller = known.better === "lower" ? " (smaller)" : "";
  const titles = [`${name}, up is better${smaller}`, `${name}, up is better`, `${known.label} ↑ better`, "↑ better"];
  return { title: titles.find((text) => textWidth(text, FONT_SIZE) <= room) ?? "" };
}

function ticksOfX(kind, [from, to], xOf, [left, right]) {
  const low = Math.max(0, from);
  const least = (to - low) / ((right - left) / 56);
  const step = kind === "evaluations" ? Math.max(1, tickStep(least)) : tickStep(least);
  return ticks(low, to, (to - low) / step).map((value) => ({ position: xOf(value), text: shortNumber(value) }));
}

function ticksOfFactor(reference, xOf, [left, right]) {
  const chosen = [];
  for (const factor of reference > 0 ? FACTORS : []) {
    const position = xOf(reference / factor);
    if (position < left + TITLE_GAP || position > right || chosen.some((other) => Math.abs(other.position - position) < 34)) continue;
    chosen.push({ position, text: `${factor}x` });
  }
  return chosen;
}

/**
 * Symbols in different lanes where they, or the labels on their right, would touch.
 *
 * @param {{position: number, text: string}[]} items
 * @returns {number[]}
 */
export function assignLanes(items, most) {
  const ends = Array(most).fill(-Infinity);
  const lanes = items.map(() => 0);
  for (const index of items.map((_, i) => i).sort((a, b) => items[a].position - items[b].position)) {
    const { position, text } = items[index];
    const free = ends.findIndex((end) => end < position - RING_RADIUS);
    lanes[index] = free < 0 ? ends.indexOf(Math.min(...ends)) : free;
    ends[lanes[index]] = position + RING_RADIUS + 3 + textWidth(text, FONT_SIZE);
  }
  return lanes;
}

function legendOf(marks, methods) {
  const entries = [];
  if (methods.length > 1) entries.push(...methods.map((text, method) => ({ kind: "front", method, text })));
  if (marks.some(({ kind }) => kind === "dominated")) entries.push({ kind: "dominated", method: 0, text: "beaten by another setting" });
  if (marks.some(({ ringed }) => ringed)) entries.push({ kind: "ring", method: 0, text: CURRENT_LABEL });
  return entries;
}

function placeLegend(entries, width, top) {
  let x = SYMBOL_RADIUS + 4;
  let y = top + LINE_HEIGHT / 2 + 2;
  const placedEntries = entries.map((entry) => {
    const needed = 12 + textWidth(entry.text, FONT_SIZE);
    if (x + needed > width) [x, y] = [SYMBOL_RADIUS + 4, y + LINE_HEIGHT];
    const placedEntry = { ...entry, x, y };
    x += needed + 16;
    return placedEntry;
  });
  return { entries: placedEntries, height: entries.length ? y + LINE_HEIGHT / 2 + 3 - top : 0 };
}

function placeAllLabels(symbols, front, { markerX, topRow, plot, rail, labelAll }) {
  const solid = symbols.map(symbolBox);
  const lines = front.slice(1).flatMap((symbol, index) => along(front[index], symbol));
  lines.push({ x: plot.x, y: topRow - 1, width: plot.width, height: 2 });
  if (markerX !== null) lines.push({ x: markerX - 1, y: plot.y, width: 2, height: plot.height });
  const planned = symbols.filter(({ kind }) => kind === "planned").map(labelOf);
  const named = symbols.filter(({ kind, ringed }) => kind === "front" || (kind === "dominated" && (ringed || labelAll))).map(labelOf);
  const baseline = { text: BASELINE_LABEL, kind: "baseline", x: markerX, y: plot.y + plot.height - FONT_SIZE, reach: 2 };
  return [
    ...placeLabels([...(markerX === null ? [] : [baseline]), ...named.reverse()], { bounds: plot, solid, lines, boxesOf: boxesAround }),
    ...placeLabels(planned, { bounds: rail, solid, lines: [], boxesOf: boxesBeside }),
  ];
}

function labelOf(symbol) {
  return { text: shortLabel(symbol.point), kind: symbol.kind, x: symbol.px, y: symbol.py, reach: reachOf(symbol) };
}

function shortLabel({ label }) {
  return label.length > LONGEST_LABEL ? `${label.slice(0, LONGEST_LABEL - 1)}…` : label;
}

function reachOf({ ringed, point }) {
  if (ringed) return RING_RADIUS + 1;
  return point.baseline ? STAR_RADIUS : SYMBOL_RADIUS;
}

function symbolBox(symbol) {
  const { px, py } = symbol;
  const reach = reachOf(symbol);
  return { x: px - reach, y: py - reach, width: 2 * reach, height: 2 * reach };
}

function along(from, to) {
  const count = Math.ceil(Math.hypot(to.px - from.px, to.py - from.py) / 5);
  return Array.from({ length: count }, (_, index) => {
    const share = index / count;
    return { x: from.px + share * (to.px - from.px) - 1, y: from.py + share * (to.py - from.py) - 1, width: 2, height: 2 };
  });
}

/**
 * A place beside its symbol for each text, the first ones first. A text with no place that leaves the others readable is
 * left out; lines are crossed only where nothing else is free.
 *
 * @template {{text: string, x: number, y: number, reach: number}} T
 * @param {T[]} items
 * @param {{bounds: Box, solid: Box[], lines: Box[], boxesOf?: (item: T) => Box[]}} options
 * @returns {(T & {box: Box})[]} Texts begin at the left edge of their box.
 */
export function placeLabels(items, { bounds, solid, lines, boxesOf = boxesAround }) {
  const done = [];
  for (const item of items) {
    const taken = [...solid, ...done.map(({ box }) => box)];
    const free = boxesOf(item).filter((box) => isInside(box, bounds) && !taken.some((other) => overlap(box, other)));
    const box = free.find((candidate) => !lines.some((line) => overlap(candidate, line))) ?? free[0];
    if (box) done.push({ ...item, box });
  }
  return done;
}

/** Left of and above a symbol first: that side of the front is empty. */
function boxesAround({ text, x, y, reach }) {
  const [width, height] = [textWidth(text, FONT_SIZE), FONT_SIZE + 2];
  const [before, beside, after] = [x - reach - 3 - width, x - width / 2, x + reach + 3];
  const [above, middle, below] = [y - reach - height, y - height / 2, y + reach];
  const places = [
    [before, middle],
    [before, y - height],
    [beside, above],
    [after, middle],
    [beside, below],
    [before, above],
    [after, above],
    [after, below],
    [before, below],
  ];
  return places.map(([left, top]) => ({ x: left, y: top, width, height }));
}

function boxesBeside({ text, x, y, reach }) {
  const [width, height] = [textWidth(text, FONT_SIZE), FONT_SIZE + 2];
  return [x + reach + 3, x - reach - 3 - width].map((left) => ({ x: left, y: y - height / 2, width, height }));
}

function isInside(box, bounds) {
  return (
    box.x >= bounds.x &&
    box.y >= bounds.y &&
    box.x + box.width <= bounds.x + bounds.width &&
    box.y + box.height <= bounds.y + bounds.height
  );
}

function overlap(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Lines of at most so many pixels. */
export function wrapText(text, width, size = FONT_SIZE) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (textWidth(longer, size) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.filter(Boolean);
}

/**
 * The symbol of the arrow key's direction that comes next, ordered by place on the screen.
 *
 * @returns {object|null} Null where the key means nothing.
 */
export function neighbour(symbols, symbol, key) {
  const byX = [...symbols].sort((a, b) => a.px - b.px || a.py - b.py);
  const byY = [...symbols].sort((a, b) => a.py - b.py || a.px - b.px);
  const moves = {
    ArrowLeft: [byX, -1],
    ArrowRight: [byX, 1],
    ArrowUp: [byY, -1],
    ArrowDown: [byY, 1],
    Home: [byX, -Infinity],
    End: [byX, Infinity],
  };
  if (!(key in moves)) return null;
  const [order, stride] = moves[key];
  if (!symbol) return byX[0] ?? null;
  return order[Math.min(Math.max(order.indexOf(symbol) + stride, 0), order.length - 1)];
}

/** The symbol under a pointer, or close by. */
export function symbolNear(symbols, x, y, reach = 22) {
  const distance = ({ px, py }) => Math.hypot(px - x, py - y);
  const [nearest] = [...symbols].sort((a, b) => distance(a) - distance(b));
  return nearest && distance(nearest) <= reach ? nearest : null;
}

/** Why planned settings are missing from the chart, if they are. */
export function noteOfPlan(view) {
  const { runs, plan, current, x } = view;
  const canPlace = x === "evaluations" || baselineOf(runs.points)?.seconds > 0;
  if (canPlace || !(plan.length || current)) return "";
  return "Settings that are only planned appear under Evaluations, because no unaccelerated run was timed.";
}

/** The chart as a whole in words. */
export function titleOf({ runs, plan }) {
  const count = runs ? runs.points.length : plan.length;
  const counted = `${count} ${count === 1 ? "setting" : "settings"} ${runs ? "measured" : "planned"}`;
  return [runs?.model, counted].filter(Boolean).join(": ");
}

/**
 * A mark in words.
 *
 * @param {Mark} mark
 * @param {View} view
 * @returns {{title: string, lines: string[]}}
 */
export function describePoint(mark, { runs, plan }) {
  const { point, kind } = mark;
  const baseline = baselineOf(runs?.points ?? []) ?? (kind === "planned" ? baselineOf(plan) : null);
  const isNamed = point.baseline || !point.method || point.label.startsWith(point.method);
  const name = isNamed ? point.label : `${point.label} (${point.method})`;
  return {
    title: mark.ringed && point.label !== CURRENT_LABEL ? `${name}, ${CURRENT_LABEL}` : name,
    lines: [
      `${describeEvaluations(point, baseline)} ${kind === "planned" ? "Not measured yet." : describeSeconds(point, baseline)}`,
      describeQuality(mark, runs?.metrics),
      `${describeStanding(mark)} ${describeSettings(point)}`,
    ].filter((line) => line.trim()),
  };
}

/** @param {Mark} mark */
function describeStanding({ point, kind, beatenBy }) {
  if (point.baseline) return "Every step computed.";
  if (kind === "planned") return "";
  return kind === "front" ? "No other setting beats it." : `Beaten by ${beatenBy.baseline ? `the run ${BASELINE_LABEL}` : beatenBy.label}.`;
}

/** The numbers of the settings that matter to the point's method. */
function describeSettings({ method, settings }) {
  const { tau_c, tau_p, decay, max_skip, warm_up, tail, ...others } = settings ?? {};
  const isOwn = ([name, value]) => !SHARED_SETTINGS.has(name) && ["number", "string"].includes(typeof value) && value !== "none";
  const own =
    method === "scope"
      ? numbers([["cache below", tau_c], ["predict below", tau_p], ["decay", decay]])
      : Object.entries(others).filter(isOwn).map(([name, value]) => `${words(name)} ${value}`);
  if (!own.length) return "";
  const run = Number.isFinite(max_skip) ? [`at most ${max_skip} skipped in a row`] : [];
  return asSentence([...own, ...run, ...numbers([["warm-up", warm_up || null], ["tail", tail || null]])]);
}

function numbers(pairs) {
  return pairs.filter(([, value]) => Number.isFinite(value)).map(([name, value]) => `${name} ${decimal(value)}`);
}

function words(name) {
  return name.replaceAll("_", " ");
}

function asSentence(parts) {
  const text = parts.join(", ");
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function describeEvaluations(point, baseline) {
  const { computed, iterations } = point;
  const cost = evaluationsOf(point, baseline);
  const blocks = cost > computed * 1.1 ? `, with the blocks run in between as many as ${cost.toFixed(1)}` : "";
  const fewer = baseline && !point.baseline ? `, ${comparison(baseline.computed / cost, "fewer", "more")}` : "";
  return `${computed}${iterations ? ` of ${iterations}` : ""} evaluations${blocks}${fewer}.`;
}

function describeSeconds({ seconds, baseline: isBaseline }, baseline) {
  if (!(seconds > 0)) return "";
  const faster = baseline?.seconds > 0 && !isBaseline ? `, ${comparison(baseline.seconds / seconds, "faster", "slower")}` : "";
  return `Measured ${duration(seconds)}${faster}.`;
}

function comparison(factor, more, less) {
  return factor >= 1 ? `${factor.toFixed(2)}x ${more}` : `${(1 / factor).toFixed(2)}x ${less}`;
}

/** @param {Mark} mark */
function describeQuality({ point, kind }, metrics) {
  if (kind === "planned") return "";
  if (kind === "baseline") return "The others are compared with this run.";
  if (point.identical) return "Identical to the unaccelerated run.";
  const parts = Object.entries(metrics).filter(([name]) => Number.isFinite(point[name])).map(([name, metric]) => {
    const worst = point[`${name}_worst`];
    const unit = metric.unit && metric.unit.length < 4 ? ` ${metric.unit}` : "";
    const worstText = Number.isFinite(worst) ? ` (worst frame ${qualityText(worst, metric)})` : "";
    return `${metric.label} ${qualityText(point[name], metric)}${unit}${worstText}`;
  });
  return parts.length ? `${parts.join(", ")}.` : "Quality was not measured.";
}

function qualityText(value, { unit, better }) {
  if (unit === "dB") return value.toFixed(1);
  return better === "lower" ? decimal(value) : value.toFixed(4);
}

/**
 * Why a point cannot be applied or compared; empty where it can.
 *
 * @param {Mark} mark
 * @param {{baseline: Point|null, samplers: object[]}} surroundings
 * @returns {{apply: string, compare: string}}
 */
export function obstaclesOf({ point, kind }, { baseline, samplers }) {
  return { apply: obstacleToApply(point, samplers), compare: obstacleToCompare(point, kind, baseline) };
}

function obstacleToApply({ widgets }, samplers) {
  if (!widgets) return "The sampler has no sliders for these settings: connect their SCOPE Settings node to its settings input.";
  return samplers.length ? "" : "There is no SCOPE Sampler to apply this to.";
}

function obstacleToCompare(point, kind, baseline) {
  if (kind === "planned") return "Not measured yet, so there is nothing to compare.";
  if (kind === "baseline") return "This is the run that the others are compared with.";
  if (!baseline) return "There is no unaccelerated run to compare with.";
  return point.clip && baseline.clip ? "" : "No clips were kept: connect a VAE to the sweep.";
}
