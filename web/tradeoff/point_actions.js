/**
 * The buttons for a point of the chart.
 *
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Runs} Runs
 *
 * @typedef {object} Callbacks What the page around the chart can do.
 * @property {(point: Point, targetId: string) => string} apply Says what happened.
 * @property {(point: Point) => import("../graph/apply.js").Target[]} targets
 * @property {(baseline: Point, point: Point, runs: Runs) => void} openCompare
 * @property {(file: import("../comfy_adapter.js").FileReference) => string} viewUrl
 */

import { button, selectBox } from "../lib/elements.js";
import { t } from "../lib/language.js";
import { clipsOf, keyOf, nameOfClip } from "./clips.js";
import { obstaclesOf } from "./obstacles.js";
import { baselineOf } from "./runs.js";

/**
 * @param {Mark} mark
 * @param {Runs|null} runs
 * @param {Callbacks} callbacks
 * @param {(sentence: string) => void} say
 */
export function actionsFor(mark, runs, callbacks, say) {
  const { point } = mark;
  const clips = clipsOf(point);
  const baseline = baselineOf(runs?.points ?? []);
  const targets = callbacks.targets(point);
  const obstacles = obstaclesOf(mark, { baseline, targets });
  let watched = clips[0];
  const full = () => clipsOf(/** @type {Point} */ (baseline)).find((clip) => keyOf(clip) === keyOf(watched));
  let targetId = targets[0]?.id;
  /** @type {HTMLElement[]} */
  const actions = [
    action(t("Apply"), obstacles.apply, say, () => say(callbacks.apply(point, targetId))),
    action(t("Open A/B"), obstacles.compare, say, () => runs && callbacks.openCompare(/** @type {Point} */ (full()), watched, runs)),
  ];
  if (targets.length > 1 && !obstacles.apply) {
    actions.unshift(selectBox(t("Node to apply the setting to"), targets.map(({ id, title }) => [id, title]), (id) => (targetId = id)));
  }
  if (clips.length > 1 && !obstacles.compare) {
    const entries = clips.map((clip, index) => /** @type {[string, string]} */ ([String(index), nameOfClip(clip, clips)]));
    actions.push(selectBox(t("Clip to play"), entries, (index) => (watched = clips[Number(index)])));
  }
  if (point.clip) actions.push(action(t("Clip"), "", say, () => watched.clip && window.open(callbacks.viewUrl(watched.clip))));
  return actions;
}

/**
 * A button that says why it does nothing where there is an obstacle; unlike a disabled one, the keyboard reaches it.
 *
 * @param {string} label
 * @param {string} obstacle
 * @param {(sentence: string) => void} say
 * @param {() => void} act
 */
function action(label, obstacle, say, act) {
  const element = button(label, obstacle, () => (obstacle ? say(obstacle) : act()));
  element.setAttribute("aria-disabled", String(Boolean(obstacle)));
  return element;
}
