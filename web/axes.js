/** Axes of the charts: where values lie and which of them get a label. Nothing here touches the page. */

export const MEANING = "Fidelity to the run without SCOPE; a video that differs is not always worse.";

/** Pixel of a value. */
export function linear([from, to], [start, end]) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

/**
 * Round values that divide a range into about `count` parts.
 *
 * @returns {number[]}
 */
export function ticks(from, to, count) {
  const step = tickStep((to - from) / count);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

/** The smallest of 1, 2, 5, 10, 20, 50, ... (or 0.5, 0.2, 0.1, ...) that is at least this. */
export function tickStep(smallest) {
  const power = 10 ** Math.floor(Math.log10(smallest));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= smallest * (1 - 1e-9));
}

/** A range a little wider than the values, never empty. */
export function paddedRange(values, share = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low || Math.abs(high) || 1) * share;
  return [low - margin, high + margin];
}

/** Four significant digits, or fewer: enough to tell neighbours apart, without a tail of noise. */
export function shortNumber(value) {
  return String(Number(value.toPrecision(4)));
}
