/** What a click in the trade-off chart does: move the sliders of a sampler, or play a setting against the unaccelerated run. */

import { nodesOfClass, setWidgets, viewUrl } from "../comfy_adapter.js";
import { Compare } from "../compare/compare.js";
import { openOverlay } from "../compare/overlay.js";
import { isConnected } from "../graph/graph_walk.js";
import { BASELINE_LABEL } from "./runs.js";
import { TradeoffChart } from "./tradeoff.js";

/** @typedef {import("./runs.js").Point} Point */

export function createChart() {
  return new TradeoffChart({ apply, samplers, openCompare, viewUrl });
}

/** Samplers that compute every step come last, since they are there to compare with. */
function samplers() {
  const numbered = nodesOfClass("SCOPE_Sampler").map((node, index) => ({
    id: String(index),
    title: /** @type {string} */ (node.title),
    isOff: presetOf(node).value === "off",
  }));
  return numbered.sort((a, b) => Number(a.isOff) - Number(b.isOff));
}

/** @param {any} sampler */
function presetOf(sampler) {
  return sampler.widgets.find((/** @type {any} */ { name }) => name === "preset");
}

/** @param {Point} point @param {string} samplerId */
function apply({ label, widgets }, samplerId) {
  const sampler = nodesOfClass("SCOPE_Sampler")[Number(samplerId)];
  setWidgets(sampler, { ...widgets, preset: presetOf(sampler).options.values.includes(label) ? label : "custom" });
  const isOverruled = isConnected(sampler, "settings");
  const consequence = isOverruled ? "but its sliders have no effect while its settings input is connected" : "run the workflow to use it";
  return `${sampler.title} is set to "${label}"; ${consequence}.`;
}

/** @param {Point} baseline @param {Point} point @param {import("./runs.js").Runs} runs */
function openCompare(baseline, point, { fps }) {
  const compare = new Compare({ viewUrl });
  compare.connect();
  openOverlay(`A/B: ${BASELINE_LABEL} and ${point.label}`, compare.element, () => compare.disconnect());
  compare.show({
    format: "scope.compare",
    version: 1,
    a: baseline.clip,
    b: point.clip,
    difference: point.difference,
    gain: point.gain,
    labels: [BASELINE_LABEL, point.label],
    fps,
    frames: point.frames,
    chunks: point.chunks,
    width: point.width,
    height: point.height,
    psnr: point.psnr_per_frame,
  });
  compare.focus();
}
