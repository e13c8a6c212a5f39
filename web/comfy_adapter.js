/** The only file that touches ComfyUI's frontend: everything else works on plain elements and data. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { placesOf, promptOf as walkFrom } from "./graph_walk.js";

/**
 * Register what happens to the nodes of some classes.
 *
 * @param {object} extension
 * @param {string} extension.name
 * @param {string[]} extension.nodeClasses
 * @param {(node: any) => void} extension.created
 * @param {(node: any) => void} [extension.configured] The node got its values from a workflow or from a copy.
 * @param {(node: any, output: any) => void} [extension.output] Also when ComfyUI restores the outputs of an earlier run.
 */
export function registerNodes({ name, nodeClasses, created, configured, output }) {
  app.registerExtension({
    name,
    nodeCreated(node) {
      if (!nodeClasses.includes(node.comfyClass)) return;
      created(node);
      chain(node, "onExecuted", (message) => output?.(node, message));
      chain(node, "onConfigure", () => configured?.(node));
    },
    onNodeOutputsUpdated(outputs) {
      for (const [locatorId, message] of Object.entries(outputs)) {
        const node = nodeByLocatorId(locatorId);
        if (nodeClasses.includes(node?.comfyClass)) output?.(node, message);
      }
    },
  });
}

/** Listen to a message that Python sent with `send_sync`. */
export function onServerMessage(type, handler) {
  api.addEventListener(type, ({ detail }) => handler(detail));
}

/** Run when links or widgets changed (at the end of a drag) and when a workflow was loaded. */
export function onGraphChange(handler) {
  app.registerExtension({ name: "SCOPE.GraphChange", afterConfigureGraph: handler });
  api.addEventListener("graphChanged", handler);
}

/** @type {((node: any, widget?: string) => void)[]} */
const moveHandlers = [];
const watchedWidgets = new WeakSet();

/** Run at once when a watched widget moves, also during a drag; without a name after `setWidgets`. */
export function onWidgetMove(handler) {
  moveHandlers.push(handler);
}

/** Call again when a node may have got new widgets. */
export function watchWidgets(node) {
  for (const widget of node.widgets ?? []) {
    if (watchedWidgets.has(widget)) continue;
    watchedWidgets.add(widget);
    chain(widget, "callback", () => reportMove(node, widget.name));
  }
}

function reportMove(node, widget) {
  for (const handler of moveHandlers) handler(node, widget);
}

/** @param {Record<string, any>} values By name of the widget; other widgets stay as they are. */
export function setWidgets(node, values) {
  for (const widget of node.widgets) if (widget.name in values) widget.value = values[widget.name];
  node.setDirtyCanvas(true, true);
  reportMove(node);
}

/** A node with everything upstream of it, in the API format; see graph_walk.js. */
export function promptOf(node, readerClass) {
  return walkFrom(app.rootGraph, node, readerClass);
}

/** Nodes of a class, those in subgraphs included. */
export function nodesOfClass(nodeClass) {
  return [...new Set(placesOf(app.rootGraph).map(({ node }) => node))].filter((node) => node.comfyClass === nodeClass);
}

/** Answer of one of the pack's own routes; `{error}` where there is none. */
export async function post(route, body) {
  try {
    const headers = { "Content-Type": "application/json" };
    return await (await api.fetchApi(route, { method: "POST", headers, body: JSON.stringify(body) })).json();
  } catch {
    return { error: "ComfyUI does not answer." };
  }
}

/** @param {{filename: string, subfolder: string, type: string}} file A file of a node's output. */
export function viewUrl(file) {
  return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

/**
 * Add an element to the end of a node. It is not part of the saved workflow.
 *
 * @param {any} node
 * @param {{name: string, element: HTMLElement, minHeight: number, size: [number, number], connect: () => void, disconnect: () => void}} widget
 */
export function addElement(node, { name, element, minHeight, size, connect, disconnect }) {
  const widget = node.addDOMWidget(name, name, element, { serialize: false, getMinHeight: () => minHeight });
  widget.serialize = false;
  node.setSize([Math.max(node.size[0], size[0]), Math.max(node.size[1], size[1])]);
  passToCanvas(element);
  connect();
  chain(node, "onAdded", connect);
  chain(node, "onRemoved", disconnect);
}

/** Over the element, too, the wheel zooms the graph and the middle button drags it. Nodes 2.0 does this by itself. */
function passToCanvas(element) {
  element.addEventListener("wheel", (event) => {
    if (canScroll(event.target, element)) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  });
  element.addEventListener("pointerdown", (event) => event.button === 1 && app.canvas.processMouseDown(event));
  element.addEventListener("pointermove", (event) => event.buttons & 4 && app.canvas.processMouseMove(event));
  element.addEventListener("pointerup", (event) => event.button === 1 && app.canvas.processMouseUp(event));
}

function canScroll(target, root) {
  for (let element = target; element !== root; element = element.parentElement) {
    if (element.scrollHeight > element.clientHeight && getComputedStyle(element).overflowY === "auto") return true;
  }
  return false;
}

/** The node of Python's `unique_id`: "7" in the main graph, "2:7" inside the subgraph node 2. */
export function nodeByExecutionId(executionId) {
  const path = String(executionId).split(":");
  const nodeId = path.pop();
  const graph = path.reduce((parent, id) => parent?.getNodeById(id)?.subgraph, app.rootGraph);
  return graph?.getNodeById(nodeId) ?? null;
}

/** Nodes that read an output of this one. */
export function readersOf(node) {
  const links = (node.outputs ?? []).flatMap((output) => output.links ?? []);
  return links.map((id) => node.graph.getNodeById(node.graph.getLink(id)?.target_id)).filter(Boolean);
}

export function loadStyleSheet(url) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = url;
  document.head.append(link);
}

/** The node of a key of the frontend's outputs: "7", or "<subgraph id>:7". */
function nodeByLocatorId(locatorId) {
  const [nodeId, subgraphId] = locatorId.split(":").reverse();
  const graph = subgraphId ? app.rootGraph.subgraphs.get(subgraphId) : app.rootGraph;
  return graph?.getNodeById(nodeId) ?? null;
}

function chain(object, method, handler) {
  const original = object[method];
  object[method] = function (...args) {
    original?.apply(this, args);
    handler(...args);
  };
}
