/**
 * The buttons for a point of the chart.
 *
 * @typedef {import("./marks.js").Mark} Mark
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Runs} Runs
 *
 * @typedef {object} Callbacks What the page around the chart can do.
 * @property {(point: Point, samplerId: string) => string} apply Says what happened.
 * @property {() => {id: string, title: string}[]} samplers
 * @property {(baseline: Point, point: Point, runs: Runs) => void} openCompare
 * @property {(file: import("../comfy_adapter.js").FileReference) => string} viewUrl
 */

import { button, selectBox } from "../lib/elements.js";
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
  const { clip } = point;
  const baseline = baselineOf(runs?.points ?? []);
  const samplers = callbacks.samplers();
  const obstacles = obstaclesOf(mark, { baseline, samplers });
  let samplerId = samplers[0]?.id;
  /** @type {HTMLElement[]} */
  const actions = [
    action("Apply to sampler", obstacles.apply, say, () => say(callbacks.apply(point, samplerId))),
    action("Open A/B", obstacles.compare, say, () => baseline && runs && callbacks.openCompare(baseline, point, runs)),
  ];
  if (samplers.length > 1 && !obstacles.apply) {
    actions.unshift(selectBox("Sampler to apply the setting to", samplers.map(({ id, title }) => [id, title]), (id) => (samplerId = id)));
  }
  if (clip) actions.push(action("Clip", "", say, () => window.open(callbacks.viewUrl(clip))));
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
