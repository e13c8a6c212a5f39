/**
 * Moving the widgets of a node to settings that were found, as one change that can be undone.
 *
 * @typedef {object} Found Settings that a run has led to.
 * @property {string} label
 * @property {Record<string, any>|null} [widgets] Of a sampler; null where it has none that give these settings.
 * @property {Record<string, any>|null} [selected] Of SCOPE Settings, with the names that they have there; null where it does not offer
 *   the method.
 *
 * @typedef {{id: string, title: string}} Target A node that can be given the settings.
 */

import { asOneChange, nodesOfClass, readersOf, setWidgets } from "../comfy_adapter.js";
import { t } from "../lib/language.js";
import { isConnected } from "./graph_walk.js";

/** @type {[nodeClass: string, values: "widgets"|"selected"][]} */
const KINDS = [["SCOPE_Sampler", "widgets"], ["SCOPE_Settings", "selected"], ["SCOPE_Accelerate", "widgets"]];

/**
 * Those that read `source` come first, samplers that compute every step last, since they are there to compare with.
 *
 * @param {Found} found
 * @param {any} [source] The node that has found them.
 * @returns {Target[]}
 */
export function targetsFor(found, source) {
  const readers = source ? readersOf(source) : [];
  const places = nodes()
    .filter(({ values }) => found[values])
    .map(({ node, id }) => ({ id, title: node.title, isReader: readers.includes(node), isOff: presetOf(node)?.value === "off" }));
  return places.sort((a, b) => Number(b.isReader) - Number(a.isReader) || Number(a.isOff) - Number(b.isOff));
}

/** @param {Found} found @param {string} id @returns {string} What happened, as a sentence. */
export function applyTo(found, id) {
  const place = nodes().find((one) => one.id === id);
  if (!place) return t("This node is not there any more.");
  const { node, values } = place;
  const wanted = /** @type {Record<string, any>} */ (found[values]);
  asOneChange(() => {
    if (values === "selected") setWidgets(node, { method: wanted.method }); // which brings the other widgets
    setWidgets(node, values === "selected" ? wanted : { ...wanted, preset: presetNamed(found.label, node) });
  });
  return t("{node} is set to {setting}; {consequence}.", { node: node.title, setting: `"${found.label}"`, consequence: consequenceFor(node) });
}

function nodes() {
  return KINDS.flatMap(([nodeClass, values]) => nodesOfClass(nodeClass).map((node) => ({ node, values, id: `${node.graph.id}:${node.id}` })));
}

/** @param {any} node */
function presetOf(node) {
  return node.widgets.find((/** @type {any} */ { name }) => name === "preset");
}

/** @param {string} label @param {any} node */
function presetNamed(label, node) {
  return presetOf(node).options.values.includes(label) ? label : "custom";
}

/** @param {any} node */
function consequenceFor(node) {
  if (node.comfyClass === "SCOPE_Settings" && !readersOf(node).length) return t("connect it to the settings input of a sampler to use it");
  return isConnected(node, "settings") ? t("but its sliders have no effect while its settings input is connected") : t("run the workflow to use it");
}
