/** Axes of the charts: where values lie, and which of them get a label. */

/**
 * @param {[number, number]} values
 * @param {[number, number]} pixels
 * @returns {(value: number) => number} Pixel of a value.
 */
export function linear([from, to], [start, end]) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

/**
 * Round values that divide a range into about `count` parts.
 *
 * @param {number} from
 * @param {number} to
 * @param {number} count
 */
export function ticks(from, to, count) {
  const step = tickStep((to - from) / count);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

/** The smallest of 1, 2, 5, 10, 20, 50, ... (or 0.5, 0.2, 0.1, ...) that is at least this. @param {number} smallest */
export function tickStep(smallest) {
  const power = 10 ** Math.floor(Math.log10(smallest));
  return [1, 2, 5].map((factor) => factor * power).find((step) => step >= smallest * (1 - 1e-9)) ?? 10 * power;
}

/** A range a little wider than the values, never empty. @param {number[]} values @returns {[number, number]} */
export function paddedRange(values, share = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low || Math.abs(high) || 1) * share;
  return [low - margin, high + margin];
}
