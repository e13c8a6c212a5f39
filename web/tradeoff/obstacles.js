/**
 * Why a point of the chart cannot be used.
 *
 * @typedef {import("./marks.js").Kind} Kind
 * @typedef {import("./runs.js").Point} Point
 */

import { t } from "../lib/language.js";

/**
 * Sentences for the two things that can be done with a point; empty where it can.
 *
 * @param {{point: Point, kind: Kind}} mark
 * @param {{baseline: Point|null, targets: object[]}} surroundings Nodes that can be given the point's settings.
 * @returns {{apply: string, compare: string}}
 */
export function obstaclesOf({ point, kind }, { baseline, targets }) {
  return { apply: obstacleToApply(point, targets), compare: obstacleToCompare(point, kind, baseline) };
}

/** @param {Point} point @param {object[]} targets */
function obstacleToApply({ widgets }, targets) {
  if (targets.length) return "";
  if (widgets) return t("There is no SCOPE Sampler to apply this to.");
  return t("The sampler has no sliders for these settings: add a SCOPE Settings node to apply them to, and connect it to the sampler.");
}

/** @param {Point} point @param {Kind} kind @param {Point|null} baseline */
function obstacleToCompare(point, kind, baseline) {
  if (kind === "planned") return t("Not measured yet, so there is nothing to compare.");
  if (kind === "baseline") return t("This is the run that the others are compared with.");
  if (!baseline) return t("There is no unaccelerated run to compare with.");
  return point.clip && baseline.clip ? "" : t("No clips were kept: connect a VAE to the sweep.");
}
