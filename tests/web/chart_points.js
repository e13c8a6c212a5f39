/** Points of a chart as Python sends them. */

import { withClip } from "../../web/tradeoff/clips.js";
import { parseRuns } from "../../web/tradeoff/runs.js";
import { measure } from "./page_stubs.js";

export const METRICS = {
  psnr: { label: "PSNR", unit: "dB", better: "higher" },
  ssim: { label: "SSIM", unit: "", better: "higher" },
  latent_error: { label: "Latent error", unit: "relative", better: "lower" },
};
export const CLIP = { filename: "a.mp4", subfolder: "", type: "temp" };
export const ROOM = { width: 500, bottom: 240, measure };

export function point(label, computed, seconds, psnr, more = {}) {
  const settings = { method: "scope", tau_c: 0.01, tau_p: 0.5, decay: 0.75, max_skip: computed, warm_up: 0, tail: 1 };
  const measured = seconds === undefined ? {} : { seconds, psnr, psnr_worst: psnr - 3, latent_error: 1 / psnr, clip: CLIP };
  return { label, method: "scope", settings, widgets: { preset: label }, iterations: 50, computed, ...measured, ...more };
}

export function baseline(more = {}) {
  const speed = { settings: { method: "off" }, widgets: { preset: "off" }, iterations: 50, computed: 50, seconds: 10 };
  return { label: "off", method: "off", baseline: true, ...speed, clip: CLIP, ...more };
}

export function runs(points, more = {}) {
  return { format: "scope.runs", version: 1, model: "demo", metrics: METRICS, notes: [], points, ...more };
}

export function view(points, more = {}) {
  return { runs: points && parseRuns(runs(points)), plan: [], current: null, x: "seconds", metric: "psnr", ...more };
}

export function kinds(marks) {
  return Object.fromEntries(marks.map(({ point: { label }, kind }) => [label, kind]));
}

export const QUANTILES = { 2: 12.706, 3: 4.303 };

/** A point of three clips with the seeds 5, 6 and 7; `psnr` null is a clip that is identical to that of the baseline. */
export function onClips(label, computed, seconds, psnr) {
  const clips = computed.map((count, index) => {
    const seed = { seed: String(5 + index), first_seed: "5", prompt: 1 };
    if (!psnr) return baseline({ label, computed: count, seconds: seconds[index], ...seed });
    const identical = psnr[index] === null;
    return point(label, count, seconds[index], psnr[index], { identical, settings: { method: "scope", label }, ...seed });
  });
  return clips.slice(1).reduce((together, clip) => withClip(together, clip, METRICS), clips[0]);
}

export function viewOfClips(points, more = {}) {
  return { ...view(null), runs: parseRuns(runs(points, { quantiles: QUANTILES })), x: "evaluations", clips: 3, ...more };
}
