/**
 * What the numbers about quality say.
 *
 * @typedef {{label: string, unit: string, better: "higher"|"lower"}} Metric
 */

import { t } from "./language.js";

export const meaning = () => t("Fidelity to the run without SCOPE; a video that differs is not always worse.");

/** The unit where it is short enough to stand beside a number. @param {Metric} metric */
export function shortUnit({ unit }) {
  return unit && unit.length < 4 ? unit : "";
}
