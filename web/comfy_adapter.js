/**
 * The only file that touches ComfyUI's frontend: everything else works on plain elements and data. Nodes, widgets and graphs are
 * LiteGraph's, which differ from one frontend to the next, so they have no types here.
 *
 * @typedef {{filename: string, subfolder: string, type: string}} FileReference A file of a node's output.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { isConnected, placesOf, promptOf as walkFrom, sourceOf as walkTo } from "./graph/graph_walk.js";
import { answerOf } from "./lib/answer.js";
import { speak, t } from "./lib/language.js";
import { asSentence } from "./lib/sentences.js";

const INPUT = 1;
const OURS = "SCOPE_";
const FOLD = "scope_fold";
const ZOOM_PAUSE = 150; // milliseconds

/**
 * Register what happens to the nodes of some classes.
 *
 * @param {object} extension
 * @param {string} extension.name
 * @param {string[]} [extension.nodeClasses] Without them, all nodes of the pack.
 * @param {(node: any) => void} extension.created
 * @param {(node: any) => void} [extension.configuring] The node is about to get its values from a workflow or from a copy.
 * @param {(node: any, saved: any) => void} [extension.configured] The node got them.
 * @param {(node: any, saved: any) => void} [extension.serialized] The node was written into what is saved.
 * @param {(node: any, input: string) => void} [extension.linked] An input was connected or disconnected, or a reroute before it.
 * @param {(node: any, output: any) => void} [extension.output] Also when ComfyUI restores the outputs of an earlier run.
 */
export function registerNodes({ name, nodeClasses, created, configuring, configured, serialized, linked, output }) {
  const isOne = (/** @type {string|undefined} */ comfyClass) => nodeClasses?.includes(String(comfyClass)) ?? comfyClass?.startsWith(OURS);
  app.registerExtension({
    name,
    nodeCreated(/** @type {any} */ node) {
      if (!isOne(node.comfyClass)) return;
      created(node);
      chain(node, "onExecuted", (/** @type {any} */ message) => output?.(node, message));
      precede(node, "configure", () => configuring?.(node));
      chain(node, "onSerialize", (/** @type {any} */ saved) => serialized?.(node, saved));
      chain(node, "onConfigure", (/** @type {any} */ saved) => configured?.(node, saved));
      chain(node, "onConnectionsChange", (/** @type {number} */ side, /** @type {number} */ slot) => {
        if (side === INPUT && node.inputs[slot]) linked?.(node, node.inputs[slot].name);
      });
    },
    onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
      for (const [locatorId, message] of Object.entries(outputs)) {
        const node = nodeByLocatorId(locatorId);
        if (isOne(node?.comfyClass)) output?.(node, message);
      }
    },
  });
}

/** @param {string} type @param {(detail: any) => void} handler */
function onServerMessage(type, handler) {
  api.addEventListener(type, (/** @type {CustomEvent} */ { detail }) => handler(detail));
}

/** @type {string|null} The prompt that is being run, once it told something to this workflow. */
let running = null;

/**
 * Listen to a message that a run of this workflow sent. Those of other tabs arrive as well, and may name nodes of the same ids.
 *
 * @param {string} type
 * @param {(detail: any) => void} handler
 */
export function onRunMessage(type, handler) {
  onServerMessage(type, (detail) => {
    if (!isOpen(detail.workflow)) return;
    running = detail.prompt_id;
    handler(detail);
  });
}

/** @param {string|undefined} workflow Missing where a prompt came without one. */
function isOpen(workflow) {
  return !workflow || workflow === app.rootGraph.id;
}

/** Run when a prompt has ended, before it was finished where `how` says so. @param {(how: string) => void} handler */
export function onRunEnd(handler) {
  const end = (/** @type {string} */ how) => {
    running = null;
    handler(how);
  };
  onServerMessage("execution_success", () => end(""));
  onServerMessage("execution_interrupted", () => end("cancelled"));
  onServerMessage("execution_error", () => end("stopped by an error"));
  onServerMessage("reconnected", () => running && catchUp(running, end));
}

/** @type {Record<string, string>} By status of a job. */
const ENDS = { completed: "", cancelled: "cancelled" };

/**
 * What was missed of a prompt while there was no connection. A server that does not know it was started anew.
 *
 * @param {string} prompt
 * @param {(how: string) => void} end
 */
async function catchUp(prompt, end) {
  const { status, workflow_id, outputs } = await get(`/jobs/${prompt}`);
  if (status === "in_progress") return;
  for (const [id, output] of Object.entries((isOpen(workflow_id) && outputs) || {})) {
    const node = nodeByExecutionId(id);
    if (node?.comfyClass?.startsWith(OURS)) node.onExecuted(output);
  }
  end(ENDS[status] ?? "stopped by an error");
}

/** Run when links or widgets changed (at the end of a drag) and when a workflow was loaded. @param {() => void} handler */
export function onGraphChange(handler) {
  app.registerExtension({ name: "SCOPE.GraphChange", afterConfigureGraph: handler });
  api.addEventListener("graphChanged", handler);
}

/** @typedef {(node: any, widget?: string) => void} MoveHandler */

/** @type {MoveHandler[]} */
const moveHandlers = [];
const watchedWidgets = new WeakSet();

/**
 * Run at once when a watched widget moves, also during a drag; without a name after `setWidgets`.
 *
 * @param {MoveHandler} handler
 */
export function onWidgetMove(handler) {
  moveHandlers.push(handler);
}

/** Run when a person changes between the classic canvas and Nodes 2.0. @param {() => void} handler */
export function onRendererChange(handler) {
  app.ui.settings.addEventListener("Comfy.VueNodes.Enabled.change", handler);
}

/** Run when the graph has been seen at another zoom for a moment. @param {() => void} handler */
export function onZoom(handler) {
  let [seen, timer] = [0, 0];
  const note = (/** @type {number} */ scale) => {
    if (scale === seen) return;
    seen = scale;
    clearTimeout(timer);
    timer = setTimeout(handler, ZOOM_PAUSE);
  };
  app.registerExtension({ name: "SCOPE.Zoom", setup: () => chain(app.canvas.ds, "onChanged", note) });
}

/** @type {Record<string, any>} The nodes in the language of the page, in the form of locales/LANGUAGE/nodeDefs.json. */
let translated = {};

/**
 * Get the words of choices and of what the pack draws; all others are translated by the frontend.
 *
 * @param {string} [language]
 */
export async function readLanguage(language = app.extensionManager.setting.get("Comfy.Locale")) {
  const words = language && language !== "en" ? (await get("/i18n"))[language] : {};
  translated = words?.nodeDefs ?? {};
  speak(words?.scope ?? {});
}

/** Run when a person chooses another language. @param {(language: string) => void} handler */
export function onLanguageChange(handler) {
  app.ui.settings.addEventListener("Comfy.Locale.change", (/** @type {CustomEvent} */ { detail }) => handler(detail.value));
}

/**
 * Show the options of a node's choices in the language of the page, and the tooltips of inputs that a choice brings. The values, and
 * what is saved, stay as they are.
 *
 * @param {any} node
 */
export function translateChoices(node) {
  const inputs = translated[node.comfyClass]?.inputs ?? {};
  for (const widget of node.widgets ?? []) {
    const { options, tooltips } = inputs[widget.name.replaceAll(".", "_")] ?? {};
    if (options) widget.options.getOptionLabel = (/** @type {string|null} */ value) => options[value ?? ""] ?? value ?? "";
    if (tooltips) widget.tooltip = tooltips[widget.tooltip] ?? widget.tooltip;
  }
}

/** Call again when a node may have got new widgets. @param {any} node */
export function watchWidgets(node) {
  for (const widget of node.widgets ?? []) {
    if (watchedWidgets.has(widget)) continue;
    watchedWidgets.add(widget);
    chain(widget, "callback", () => reportMove(node, widget.name));
  }
}

/** @type {MoveHandler} */
function reportMove(node, widget) {
  for (const handler of moveHandlers) handler(node, widget);
}

/** @param {any} node @param {Record<string, any>} values By name of the widget; other widgets stay as they are. */
export function setWidgets(node, values) {
  for (const widget of node.widgets) if (widget.name in values) widget.value = values[widget.name];
  node.setDirtyCanvas(true, true);
  reportMove(node);
}

/** Changes of widgets that a person undoes together, and apart from what was done before. @param {() => void} act */
export function asOneChange(act) {
  app.canvas.emitBeforeChange();
  act();
  app.canvas.emitAfterChange();
}

/**
 * A node with everything upstream of it, in the API format; see graph_walk.js.
 *
 * @param {any} node
 * @param {string[]} [readerClasses]
 * @param {string[]} [endClasses]
 */
export function promptOf(node, readerClasses, endClasses) {
  return walkFrom(app.rootGraph, node, readerClasses, endClasses);
}

/** The node that an input gets its value from, or null; see graph_walk.js. @param {any} node @param {string} input */
export function sourceOf(node, input) {
  return walkTo(app.rootGraph, node, input);
}

/** Nodes of a class, those in subgraphs included. @param {string} nodeClass @returns {any[]} */
export function nodesOfClass(nodeClass) {
  return nodesOf().filter((node) => node.comfyClass === nodeClass);
}

/** All nodes of the pack. @returns {any[]} */
export function ownNodes() {
  return nodesOf().filter((node) => node.comfyClass?.startsWith(OURS));
}

/** @returns {any[]} */
function nodesOf() {
  return [...new Set(placesOf(app.rootGraph).map(({ node }) => node))];
}

/**
 * Answer of one of the pack's own routes; `{error}` where there is none, see lib/answer.js.
 *
 * @param {string} route
 * @param {unknown} body
 * @returns {Promise<any>}
 */
export async function post(route, body) {
  const headers = { "Content-Type": "application/json" };
  const response = await api.fetchApi(route, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
  return response ? answerOf(response) : { error: t("ComfyUI does not answer.") };
}

/** Answer of a route that takes nothing, as `post`. @param {string} route @returns {Promise<any>} */
export async function get(route) {
  const response = await api.fetchApi(route).catch(() => null);
  return response ? answerOf(response) : { error: t("ComfyUI does not answer.") };
}

/** Add a command, with a place in the menu. @param {string} id @param {string} label @param {() => void} run */
export function addCommand(id, label, run) {
  app.registerExtension({
    name: id,
    commands: [{ id, label, function: run }],
    menuCommands: [{ path: ["Extensions", "SCOPE"], commands: [id] }],
  });
}

/** @param {FileReference} file @returns {string} */
export function viewUrl(file) {
  return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

/**
 * On the classic canvas, which shows every input at once, fold those for experts behind a button; Nodes 2.0 has a button of its own.
 * Connected ones stay.
 *
 * @param {any} node
 */
export function foldInputs(node) {
  const isClassic = isClassicCanvas();
  const forExperts = (node.widgets ?? []).filter((/** @type {any} */ { options }) => options?.advanced);
  for (const widget of forExperts) widget.hidden = isClassic && !node.showAdvanced && !isConnected(node, widget.name);
  const known = node.widgets?.find((/** @type {any} */ { name }) => name === FOLD);
  if (!known && !forExperts.length) return;
  const fold = known ?? node.addWidget("button", FOLD, null, () => toggleInputs(node), { serialize: false, canvasOnly: true });
  fold.serialize = false;
  fold.hidden = !isClassic || !forExperts.length;
  const more = forExperts.length === 1 ? t("1 more input") : t("{count} more inputs", { count: forExperts.length });
  fold.label = node.showAdvanced ? t("Fewer inputs") : more;
}

function isClassicCanvas() {
  return !(/** @type {any} */ (window).LiteGraph.vueNodesMode);
}

/** @type {WeakMap<any, number>} Heights that nodes had before their inputs for experts were shown. */
const foldedHeights = new WeakMap();

/** Where the node has room to spare, it stays as tall as it is. @param {any} node */
function toggleInputs(node) {
  const [width, height] = node.size;
  node.showAdvanced = !node.showAdvanced;
  foldInputs(node);
  if (node.showAdvanced) foldedHeights.set(node, height);
  const wanted = node.showAdvanced ? height : (foldedHeights.get(node) ?? 0);
  node.setSize([width, Math.max(wanted, node.computeSize()[1])]);
  node.setDirtyCanvas(true, true);
}

/** Fold the inputs of a node that was just made, which then needs less room. @param {any} node */
export function foldNewInputs(node) {
  foldInputs(node);
  fitHeight(node);
}

/** Make a node as tall as what it shows, and at least this tall. @param {any} node @param {number} [least] */
export function fitHeight(node, least = 0) {
  node.setSize([node.size[0], Math.max(least, node.computeSize()[1])]);
}

/** @type {WeakMap<any, {label: string|undefined, tooltip: string|undefined}>} What disabled widgets said before. */
const usualWords = new WeakMap();

/**
 * Inputs that have no effect as things are, by name: why. They are greyed out, and say so.
 *
 * @param {any} node
 * @param {Record<string, string>} idle
 */
export function disableInputs(node, idle) {
  for (const widget of node.widgets ?? []) {
    const reason = idle[widget.name];
    if (reason) disable(widget, reason);
    else if (usualWords.has(widget)) enable(widget);
  }
  node.setDirtyCanvas(true, true);
}

/** Of a disabled widget the classic canvas draws the label alone, with room for the reason. @param {any} widget @param {string} reason */
function disable(widget, reason) {
  if (!usualWords.has(widget)) usualWords.set(widget, { label: widget.label, tooltip: widget.tooltip });
  widget.disabled = true;
  widget.tooltip = asSentence(t("No effect: {reason}", { reason }));
  if (isClassicCanvas()) widget.label = `${usualWords.get(widget)?.label ?? widget.name}: ${reason}`;
}

/** @param {any} widget */
function enable(widget) {
  Object.assign(widget, { disabled: false, ...usualWords.get(widget) });
  usualWords.delete(widget);
}

/**
 * Of numbered sockets, such as settings_1, settings_2 ..., keep those up to the last connected one, and one more.
 *
 * @param {any} node
 * @param {string} prefix
 * @param {number} first
 * @param {number} most
 */
export async function growSockets(node, prefix, first, most) {
  await null; // until a workflow or a copy is complete
  const numbers = Array.from({ length: most - first + 1 }, (_, index) => index + first);
  const slotOf = (/** @type {number} */ number) => node.inputs.findIndex((/** @type {any} */ { name }) => name === `${prefix}${number}`);
  const used = numbers.filter((number) => isConnected(node, `${prefix}${number}`));
  const wanted = Math.min(most, Math.max(first - 1, ...used) + 1);
  const { type, shape } = node.inputs[slotOf(first)];
  for (const number of numbers) if (number <= wanted && slotOf(number) < 0) node.addInput(`${prefix}${number}`, type, { shape });
  for (const number of numbers.reverse()) if (number > wanted && slotOf(number) >= 0) node.removeInput(slotOf(number));
}

/**
 * Add an element to the end of a node. It is not part of the saved workflow.
 *
 * @param {any} node
 * @param {object} widget
 * @param {string} widget.name
 * @param {HTMLElement} widget.element
 * @param {number} widget.minHeight
 * @param {number[]} widget.size Least width and height of the node.
 * @param {() => void} widget.connect
 * @param {() => void} widget.disconnect
 */
export function addElement(node, { name, element, minHeight, size, connect, disconnect }) {
  const widget = node.addDOMWidget(name, name, element, { serialize: false, hideOnZoom: false, getMinHeight: () => minHeight });
  widget.serialize = false;
  const height = isClassicCanvas() ? Math.max(node.size[1], node.computeSize()[1]) : 0; // Nodes 2.0 makes room for what is in sight
  node.setSize([Math.max(node.size[0], size[0]), Math.max(size[1], height)]);
  passToCanvas(element);
  connect();
  chain(node, "onAdded", connect);
  chain(node, "onRemoved", disconnect);
}

/** Put another element in the place of one that was added. @param {any} node @param {string} name @param {HTMLElement} element */
export function replaceElement(node, name, element) {
  const widget = node.widgets.find((/** @type {any} */ one) => one.name === name);
  element.style.cssText = widget.element.style.cssText;
  widget.element.replaceWith(element);
  widget.element = element;
  passToCanvas(element);
}

/**
 * Over the element, too, the wheel zooms the graph and the middle button drags it. Nodes 2.0 does this by itself.
 *
 * @param {HTMLElement} element
 */
function passToCanvas(element) {
  element.addEventListener("wheel", (event) => {
    if (canScroll(/** @type {Element} */ (event.target), element)) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  });
  element.addEventListener("pointerdown", (event) => event.button === 1 && app.canvas.processMouseDown(event));
  element.addEventListener("pointermove", (event) => event.buttons & 4 && app.canvas.processMouseMove(event));
  element.addEventListener("pointerup", (event) => event.button === 1 && app.canvas.processMouseUp(event));
}

/** @param {Element} target @param {Element} root Of the widget. */
function canScroll(target, root) {
  for (let element = /** @type {Element|null} */ (target); element && element !== root; element = element.parentElement) {
    if (element.scrollHeight > element.clientHeight && getComputedStyle(element).overflowY === "auto") return true;
  }
  return false;
}

/**
 * The node of Python's `unique_id`: "7" in the main graph, "2:7" inside the subgraph node 2.
 *
 * @param {unknown} executionId
 * @returns {any}
 */
export function nodeByExecutionId(executionId) {
  const path = String(executionId).split(":");
  const nodeId = path.pop();
  const graph = path.reduce((parent, id) => parent?.getNodeById(id)?.subgraph, app.rootGraph);
  return graph?.getNodeById(nodeId) ?? null;
}

/** Nodes that read an output of this one. @param {any} node @returns {any[]} */
export function readersOf(node) {
  return (node.outputs ?? []).flatMap((/** @type {any} */ _, /** @type {number} */ slot) => node.getOutputNodes(slot) ?? []);
}

/** @param {string} url @returns {Promise<unknown>} Settles when its rules apply, or when they cannot be had. */
export function loadStyleSheet(url) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = url;
  document.head.append(link);
  return new Promise((settle) => (link.onload = link.onerror = settle));
}

let isPageNew = true;
app.registerExtension({ name: "SCOPE.Reload", afterConfigureGraph: () => setTimeout(() => (isPageNew = false)) });

/** Keep what a node shows for as long as the tab is open. @param {any} node @param {unknown} payload */
export function keepOutput(node, payload) {
  try {
    sessionStorage.removeItem(outputKey(node)); // of an earlier run, which is not to come back where there is no room for this one
    sessionStorage.setItem(outputKey(node), JSON.stringify(payload));
  } catch {} // the tab has no room left
}

/** What a node showed before the page was loaded anew; nothing for workflows that are opened later. @param {any} node @returns {unknown} */
export function keptOutput(node) {
  const kept = isPageNew ? sessionStorage.getItem(outputKey(node)) : null;
  return kept && JSON.parse(kept);
}

/** @param {any} node */
function outputKey({ id, graph, comfyClass }) {
  return `scope.${(graph ?? app.rootGraph).id}.${id}.${comfyClass}`;
}

/** The node of a key of the frontend's outputs: "7", or "<subgraph id>:7". @param {string} locatorId @returns {any} */
function nodeByLocatorId(locatorId) {
  const [nodeId, subgraphId] = locatorId.split(":").reverse();
  const graph = subgraphId ? app.rootGraph.subgraphs.get(subgraphId) : app.rootGraph;
  return graph?.getNodeById(nodeId) ?? null;
}

/** Run a handler after a method. @param {any} object @param {string} method @param {(...args: any[]) => void} handler */
function chain(object, method, handler) {
  const original = object[method];
  object[method] = function (/** @type {any[]} */ ...args) {
    original?.apply(this, args);
    handler(...args);
  };
}

/** Run a handler before a method. @param {any} object @param {string} method @param {() => void} handler */
function precede(object, method, handler) {
  const original = object[method];
  object[method] = function (/** @type {any[]} */ ...args) {
    handler();
    return original.apply(this, args);
  };
}
