/** What a click in the trade-off chart does: move the sliders of a node, or play a setting against the unaccelerated run. */

import { viewUrl } from "../comfy_adapter.js";
import { Compare } from "../compare/compare.js";
import { openOverlay } from "../compare/overlay.js";
import { applyTo, targetsFor } from "../graph/apply.js";
import { t } from "../lib/language.js";
import { nameOfBaseline } from "./runs.js";
import { TradeoffChart } from "./tradeoff.js";

/** @typedef {import("./runs.js").Point} Point */

export function createChart() {
  return new TradeoffChart({ apply: applyTo, targets: targetsFor, openCompare, viewUrl });
}

/** @param {Point} baseline @param {Point} point @param {import("./runs.js").Runs} runs */
function openCompare(baseline, point, { fps }) {
  const compare = new Compare({ viewUrl });
  const pair = t("A/B: without SCOPE and {setting}", { setting: point.label });
  const title = [pair, point.seed && t("seed {seed}", { seed: point.seed })].filter(Boolean).join(t(", "));
  openOverlay(title, compare.element, () => compare.drawn.disconnect());
  compare.show({
    format: "scope.compare",
    version: 1,
    a: baseline.clip,
    b: point.clip,
    difference: point.difference,
    gain: point.gain,
    labels: [nameOfBaseline(), point.label],
    fps,
    frames: point.frames,
    chunks: point.chunks,
    width: point.width,
    height: point.height,
    psnr: point.psnr_per_frame,
  });
  compare.focus();
}
