/**
 * The cells of the timeline: iterations along x, one segment after the other, and units (chunks) along y.
 *
 * @typedef {import("./trace.js").Segment} Segment
 * @typedef {import("./trace.js").Step} Step
 * @typedef {import("./trace.js").Trace} Trace
 *
 * @typedef {object} Place Where a segment lies.
 * @property {Segment} segment
 * @property {number} first Its first column.
 * @property {number} count Its columns.
 * @property {number} filled Its iterations whose looks are filled in.
 *
 * @typedef {object} Grid
 * @property {Trace} trace
 * @property {number} columns
 * @property {number} rows
 * @property {Place[]} places
 * @property {Uint8Array} looks One of LOOK per cell, row after row.
 *
 * @typedef {object} Cell
 * @property {Place} place
 * @property {number} column
 * @property {number} unit
 * @property {string} rule
 * @property {number} progress 0: not started, 1..steps: about to take that step, steps + 1: done.
 * @property {number} sigma
 * @property {number|null} score
 * @property {number|null} seconds
 * @property {number} look
 */

import { clamp } from "../lib/clamp.js";

/** How a cell looks. */
export const LOOK = Object.freeze({ empty: 0, waiting: 1, done: 2, context: 3, recompute: 4, predict: 5, cache: 6 });

/** @type {Record<string, number>} */
const LOOK_OF_MODE = { R: LOOK.recompute, P: LOOK.predict, C: LOOK.cache };

/** @param {Trace} trace @returns {Grid} */
export function gridOf(trace) {
  const places = [];
  let columns = 0;
  for (const segment of trace.segments) {
    const count = Math.max(segment.planned ?? 0, segment.steps.length);
    places.push({ segment, first: columns, count, filled: 0 });
    columns += count;
  }
  const rows = Math.max(0, ...trace.segments.map((segment) => segment.units.length));
  return filledGrid({ trace, columns, rows, places, looks: new Uint8Array(columns * rows) });
}

/**
 * The grid of a trace that may have grown since: only new iterations are looked at while they fit in.
 *
 * @param {Grid|null} grid
 * @param {Trace} trace
 */
export function grownGrid(grid, trace) {
  const fits =
    grid?.trace === trace &&
    grid.places.length === trace.segments.length &&
    grid.places.every(({ segment, count }) => segment.steps.length <= count);
  return fits ? filledGrid(grid) : gridOf(trace);
}

/** @param {Grid} grid */
function filledGrid(grid) {
  for (const place of grid.places) {
    const { segment, first } = place;
    for (; place.filled < segment.steps.length; place.filled++) {
      if (!(place.filled in segment.steps)) continue;
      const forwards = !segment.by_chunk && segment.steps[place.filled].modes.includes("R");
      for (let unit = 0; unit < segment.units.length; unit++) {
        grid.looks[unit * grid.columns + first + place.filled] = lookOf(segment, place.filled, unit, forwards);
      }
    }
  }
  return grid;
}

/**
 * @param {Segment} segment
 * @param {number} iteration
 * @param {number} unit
 * @param {boolean} forwards Whether the iteration's interval went through the model.
 */
function lookOf(segment, iteration, unit, forwards) {
  const { modes, frames } = segment.steps[iteration];
  const look = LOOK_OF_MODE[modes[unit]];
  if (look) return look;
  const [from, to] = segment.units[unit];
  if (forwards && frames[0] < to && frames[1] > from) return LOOK.context;
  return progressOf(segment, iteration, unit) > 0 ? LOOK.done : LOOK.waiting;
}

/**
 * 0: not started, 1..steps: about to take that step, steps + 1: done.
 *
 * @param {Segment} segment
 * @param {number} iteration
 * @param {number} unit
 */
export function progressOf(segment, iteration, unit) {
  return clamp(iteration + 1 - segment.ar_step * unit, 0, segment.sigmas.length);
}

/**
 * @param {Grid} grid
 * @param {number} column
 * @param {number} unit
 * @returns {Cell|null} Null where there is no such iteration or unit.
 */
export function cellAt(grid, column, unit) {
  const place = grid.places.find(({ first, count }) => column >= first && column < first + count);
  if (!place || unit < 0 || unit >= place.segment.units.length) return null;
  const { segment } = place;
  const iteration = column - place.first;
  const step = segment.steps[iteration];
  const progress = progressOf(segment, iteration, unit);
  return {
    place,
    column,
    unit,
    rule: step?.rules[unit] ?? ".",
    progress,
    sigma: segment.sigmas[Math.max(progress - 1, 0)],
    score: step ? scoreOf(step, unit) : null,
    seconds: step?.seconds ?? null,
    look: grid.looks[unit * grid.columns + column],
  };
}

/** @param {Step} step @param {number} unit */
function scoreOf({ modes, scores }, unit) {
  if (modes[unit] === ".") return null;
  const advancingBefore = [...modes.slice(0, unit)].filter((mode) => mode !== ".").length;
  if (typeof scores !== "string") return scores[advancingBefore] ?? null;
  const code = scores.slice(4 * advancingBefore, 4 * advancingBefore + 4);
  return Number(`${code.slice(0, 3)}e-${code[3]}`);
}

/**
 * The active interval of a segment: what goes through the model where an iteration is computed.
 *
 * @param {Segment} segment
 * @returns {{from: number, to: number, rows: [number, number]}[]} Iterations [from, to) and the rows they cover.
 */
export function intervalsOf(segment) {
  /** @type {{from: number, to: number, frames: [number, number]}[]} */
  const spans = [];
  segment.steps.forEach(({ frames }, iteration) => {
    const last = spans.at(-1);
    if (last?.frames[0] === frames[0] && last.frames[1] === frames[1]) last.to = iteration + 1;
    else spans.push({ from: iteration, to: iteration + 1, frames });
  });
  return spans.map(({ from, to, frames: [start, end] }) => ({ from, to, rows: [rowOf(segment, start), rowOf(segment, end)] }));
}

/** Row at which a column lies, part of a unit included. @param {Segment} segment @param {number} column */
function rowOf(segment, column) {
  return segment.units.reduce((row, [from, to]) => row + clamp((column - from) / (to - from), 0, 1), 0);
}

/**
 * How many unit steps were recomputed, predicted and cached.
 *
 * @param {Grid} grid
 * @returns {Record<string, number>} By LOOK.
 */
export function countLooks(grid) {
  const counts = new Uint32Array(Object.keys(LOOK).length);
  for (const look of grid.looks) counts[look]++;
  return Object.fromEntries([LOOK.recompute, LOOK.predict, LOOK.cache].map((look) => [look, counts[look]]));
}
