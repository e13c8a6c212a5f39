/**
 * Why a point of the chart cannot be used.
 *
 * @typedef {import("./marks.js").Kind} Kind
 * @typedef {import("./runs.js").Point} Point
 */

/**
 * Sentences for the two things that can be done with a point; empty where it can.
 *
 * @param {{point: Point, kind: Kind}} mark
 * @param {{baseline: Point|null, samplers: object[]}} surroundings
 * @returns {{apply: string, compare: string}}
 */
export function obstaclesOf({ point, kind }, { baseline, samplers }) {
  return { apply: obstacleToApply(point, samplers), compare: obstacleToCompare(point, kind, baseline) };
}

/** @param {Point} point @param {object[]} samplers */
function obstacleToApply({ widgets }, samplers) {
  if (!widgets) return "The sampler has no sliders for these settings: connect their SCOPE Settings node to its settings input.";
  return samplers.length ? "" : "There is no SCOPE Sampler to apply this to.";
}

/** @param {Point} point @param {Kind} kind @param {Point|null} baseline */
function obstacleToCompare(point, kind, baseline) {
  if (kind === "planned") return "Not measured yet, so there is nothing to compare.";
  if (kind === "baseline") return "This is the run that the others are compared with.";
  if (!baseline) return "There is no unaccelerated run to compare with.";
  return point.clip && baseline.clip ? "" : "No clips were kept: connect a VAE to the sweep.";
}
