/** How numbers are written. */

import { fill } from "./language.js";

/** A number with so many significant digits, without trailing zeros. @param {number} number */
export function decimal(number, digits = 3) {
  return String(Number(number.toPrecision(digits)));
}

/** A count, or a mean of counts: nothing before the decimal point is rounded. @param {number} count */
export function meanCount(count) {
  return decimal(count, Math.max(3, String(Math.trunc(count)).length));
}

/** Seconds in words, such as "31 ms", "3.2 s" and "2 min 5 s". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.9995) return `${decimal(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** About how long, such as "20 s" and "3 min". @param {number} seconds */
export function roughDuration(seconds) {
  return seconds < 90 ? `${Math.max(5, 5 * Math.round(seconds / 5))} s` : `${Math.round(seconds / 60)} min`;
}

/**
 * How many times as much, such as "2.60x fewer"; below 1 the other way round, such as "1.25x more".
 *
 * @param {number} factor
 * @param {string} above With {factor} in its place.
 * @param {string} below
 */
export function factorText(factor, above, below, digits = 2) {
  return factor >= 1 ? fill(above, { factor: factor.toFixed(digits) }) : fill(below, { factor: (1 / factor).toFixed(digits) });
}

/** @param {number} part @param {number} whole */
export function percent(part, whole) {
  return `${Math.round((100 * part) / whole)}%`;
}

/** The whole numbers [from, to), such as "5–9" or "5". @param {number} from @param {number} to */
export function rangeText(from, to) {
  return to - from === 1 ? `${from}` : `${from}–${to - 1}`;
}
