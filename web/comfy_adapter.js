/** The only file that touches ComfyUI's frontend: everything else works on plain elements and data. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/**
 * Register what happens to the nodes of some classes.
 *
 * @param {{name: string, nodeClasses: string[], created: (node: any) => void, output: (node: any, output: any) => void}} extension
 *   `output` also runs when ComfyUI restores the outputs of an earlier run.
 */
export function registerNodes({ name, nodeClasses, created, output }) {
  app.registerExtension({
    name,
    nodeCreated(node) {
      if (!nodeClasses.includes(node.comfyClass)) return;
      created(node);
      chain(node, "onExecuted", (message) => output(node, message));
    },
    onNodeOutputsUpdated(outputs) {
      for (const [locatorId, message] of Object.entries(outputs)) {
        const node = nodeByLocatorId(locatorId);
        if (nodeClasses.includes(node?.comfyClass)) output(node, message);
      }
    },
  });
}

/** Listen to a message that Python sent with `send_sync`. */
export function onServerMessage(type, handler) {
  api.addEventListener(type, ({ detail }) => handler(detail));
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

function chain(node, method, handler) {
  const original = node[method];
  node[method] = function (...args) {
    original?.apply(this, args);
    handler(...args);
  };
}
