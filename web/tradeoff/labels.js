/**
 * Where the names of the settings stand, so that all of them can be read.
 *
 * @typedef {import("../lib/svg_shapes.js").Box} Box
 * @typedef {import("../lib/text_measure.js").Measure} Measure
 * @typedef {import("./marks.js").Kind} Kind
 * @typedef {import("./layout.js").Symbol} PlacedMark
 *
 * @typedef {{text: string, width: number, x: number, y: number, reach: number}} Label Text for a symbol at x, y of that radius.
 * @typedef {Label & {kind: Kind}} MarkLabel
 */

import { nameOfBaseline } from "./runs.js";
import { FONT_SIZE, RING_RADIUS, STAR_RADIUS, SYMBOL_RADIUS } from "./sizes.js";

const LONGEST_LABEL = 24;
const GAP = 3; // between a symbol and its text
const HEIGHT = FONT_SIZE + 2;

/**
 * @param {PlacedMark[]} symbols
 * @param {PlacedMark[]} front Joined by a line, from left to right.
 * @param {object} room
 * @param {number|null} room.markerX Where the line of the baseline stands.
 * @param {number} room.topRow Where the line of identical results lies.
 * @param {Box} room.plot
 * @param {Box} room.rail Of planned settings.
 * @param {boolean} room.labelAll Also settings that others beat.
 * @param {Measure} measure
 * @returns {(MarkLabel & {box: Box})[]}
 */
export function placeAllLabels(symbols, front, { markerX, topRow, plot, rail, labelAll }, measure) {
  const labelOf = (/** @type {PlacedMark} */ symbol) => labelFor(symbol, measure);
  const solid = symbols.map(symbolBox);
  const lines = front.slice(1).flatMap((symbol, index) => boxesAlong(front[index], symbol));
  lines.push({ x: plot.x, y: topRow - 1, width: plot.width, height: 2 });
  lines.push(...symbols.flatMap(barBoxes));
  if (markerX !== null) lines.push({ x: markerX - 1, y: plot.y, width: 2, height: plot.height });
  const planned = symbols.filter(({ kind }) => kind === "planned").map(labelOf);
  const named = symbols.filter(({ kind, ringed }) => kind === "front" || (kind === "dominated" && (ringed || labelAll))).map(labelOf);
  const baseline = markerX === null ? [] : [baselineLabel(markerX, plot, measure)];
  return [
    ...placeLabels([...baseline, ...named.reverse()], { bounds: plot, solid, lines, boxesOf: boxesAround }),
    ...placeLabels(planned, { bounds: rail, solid, lines: [], boxesOf: boxesBeside }),
  ];
}

/** @param {PlacedMark} symbol @param {Measure} measure @returns {MarkLabel} */
function labelFor(symbol, measure) {
  const text = shortLabel(symbol.point.label);
  return { text, width: measure(text, FONT_SIZE), kind: symbol.kind, x: symbol.px, y: symbol.py, reach: reachOf(symbol) };
}

/** @param {number} x @param {Box} plot @param {Measure} measure @returns {MarkLabel} */
function baselineLabel(x, plot, measure) {
  const [text, y] = [nameOfBaseline(), plot.y + plot.height - FONT_SIZE];
  return { text, width: measure(text, FONT_SIZE), kind: "baseline", x, y, reach: 2 };
}

/** @param {string} label */
export function shortLabel(label) {
  return label.length > LONGEST_LABEL ? `${label.slice(0, LONGEST_LABEL - 1)}…` : label;
}

/** @param {PlacedMark} symbol */
function symbolBox(symbol) {
  const { px, py } = symbol;
  const reach = reachOf(symbol);
  return { x: px - reach, y: py - reach, width: 2 * reach, height: 2 * reach };
}

/** @param {PlacedMark} symbol */
function reachOf({ ringed, point }) {
  if (ringed) return RING_RADIUS + 1;
  return point.baseline ? STAR_RADIUS : SYMBOL_RADIUS;
}

/** @param {PlacedMark} symbol @returns {Box[]} */
function barBoxes({ px, py, across, upright }) {
  return [
    ...(across ? [{ x: across.from, y: py - 1, width: across.to - across.from, height: 2 }] : []),
    ...(upright ? [{ x: px - 1, y: upright.from, width: 2, height: upright.to - upright.from }] : []),
  ];
}

/** Small boxes that cover the line between two symbols. @param {PlacedMark} from @param {PlacedMark} to */
function boxesAlong(from, to) {
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
 * @template {Label} T
 * @param {T[]} labels
 * @param {{bounds: Box, solid: Box[], lines: Box[], boxesOf?: (label: Label) => Box[]}} options
 * @returns {(T & {box: Box})[]} Texts begin at the left edge of their box.
 */
export function placeLabels(labels, { bounds, solid, lines, boxesOf = boxesAround }) {
  /** @type {(T & {box: Box})[]} */
  const done = [];
  for (const label of labels) {
    const taken = [...solid, ...done.map(({ box }) => box)];
    const free = boxesOf(label).filter((box) => isInside(box, bounds) && !taken.some((other) => overlap(box, other)));
    const box = free.find((candidate) => !lines.some((line) => overlap(candidate, line))) ?? free[0];
    if (box) done.push({ ...label, box });
  }
  return done;
}

/** Left of and above a symbol first: that side of the front is empty. @param {Label} label @returns {Box[]} */
function boxesAround({ width, x, y, reach }) {
  const [before, beside, after] = [x - reach - GAP - width, x - width / 2, x + reach + GAP];
  const [above, middle, below] = [y - reach - HEIGHT, y - HEIGHT / 2, y + reach];
  const places = [
    [before, middle],
    [before, y - HEIGHT],
    [beside, above],
    [after, middle],
    [beside, below],
    [before, above],
    [after, above],
    [after, below],
    [before, below],
  ];
  return places.map(([left, top]) => ({ x: left, y: top, width, height: HEIGHT }));
}

/** @param {Label} label @returns {Box[]} */
function boxesBeside({ width, x, y, reach }) {
  return [x + reach + GAP, x - reach - GAP - width].map((left) => ({ x: left, y: y - HEIGHT / 2, width, height: HEIGHT }));
}

/** @param {Box} box @param {Box} bounds */
function isInside(box, bounds) {
  return (
    box.x >= bounds.x &&
    box.y >= bounds.y &&
    box.x + box.width <= bounds.x + bounds.width &&
    box.y + box.height <= bounds.y + bounds.height
  );
}

/** @param {Box} a @param {Box} b */
function overlap(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/**
 * Symbols in different lanes where they, or the labels on their right, would touch.
 *
 * @param {{position: number, width: number}[]} items `width` is that of the label.
 * @param {number} most
 * @returns {number[]}
 */
export function assignLanes(items, most) {
  /** @type {number[]} */
  const ends = Array(most).fill(-Infinity);
  const lanes = items.map(() => 0);
  for (const index of items.map((_, i) => i).sort((a, b) => items[a].position - items[b].position)) {
    const { position, width } = items[index];
    const free = ends.findIndex((end) => end < position - RING_RADIUS);
    lanes[index] = free < 0 ? ends.indexOf(Math.min(...ends)) : free;
    ends[lanes[index]] = position + RING_RADIUS + GAP + width;
  }
  return lanes;
}
