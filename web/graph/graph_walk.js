/**
 * Reading a live graph as ComfyUI's API format, only as far as one node depends on it. ComfyUI's own graphToPrompt serialises
 * every node of the workflow, and some packs upload files or take pictures when it does.
 *
 * @typedef {{node: any, path: any[]}} Place A node, and the subgraph nodes around it, outermost first.
 * @typedef {{source: Place, slot: number} | {value: any}} Origin What an input gets.
 * @typedef {Record<string, {class_type: string, inputs: Record<string, any>}>} Prompt
 */

const MUTED = 2;
const BYPASSED = 4;

/**
 * All nodes; those of a subgraph once for every subgraph node that shows it.
 *
 * @param {any} graph
 * @param {any[]} [path] Of the graph.
 * @returns {Place[]}
 */
export function placesOf(graph, path = []) {
  return graph.nodes.flatMap((/** @type {any} */ node) => [{ node, path }, ...(node.subgraph ? placesOf(node.subgraph, [...path, node]) : [])]);
}

/** Python's `unique_id`: "7" in the main graph, "2:7" inside the subgraph node 2. @param {Place} place */
function executionId({ node, path }) {
  return [...path, node].map(({ id }) => id).join(":");
}

/**
 * A node and everything upstream of it; of a node in a subgraph that is used several times, the first use.
 *
 * @param {any} graph The root graph.
 * @param {any} node
 * @param {string[]} [readerClasses] Nodes of these classes that read an output of the node are added, each with everything upstream.
 * @param {string[]} [endClasses] So are nodes of these classes anywhere downstream.
 * @returns {{node: string, prompt: Prompt, nodes: any[]}} `nodes` are those of the prompt.
 */
export function promptOf(graph, node, readerClasses = [], endClasses = []) {
  const places = placesOf(graph);
  const own = places.find((place) => place.node === node);
  if (!own) throw new Error(`Node ${node.id} is not in the graph.`);
  const { id, prompt, nodes } = upstreamOf(own);
  for (const place of places) {
    const isEnd = endClasses.includes(place.node.type);
    if ((!readerClasses.includes(place.node.type) && !isEnd) || !runs(place)) continue;
    const branch = upstreamOf(place);
    const isReader = Object.values(branch.prompt[branch.id].inputs).some((input) => Array.isArray(input) && input[0] === id);
    if (isEnd ? !(id in branch.prompt) : !isReader) continue;
    nodes.push(...branch.nodes);
    Object.assign(prompt, branch.prompt);
  }
  return { node: id, prompt, nodes };
}

/**
 * The node that an input of a node gets its value from, past reroutes and across the borders of subgraphs.
 *
 * @param {any} graph The root graph.
 * @param {any} node
 * @param {string} name Of the input.
 * @returns {any} Null where nothing arrives, or where the node is not in the graph.
 */
export function sourceOf(graph, node, name) {
  const place = placesOf(graph).find((one) => one.node === node);
  const input = node.inputs.find((/** @type {any} */ one) => one.name === name);
  const origin = place && input ? originOf(place, input, input.type) : null;
  return origin && "source" in origin ? origin.source.node : null;
}

/** Whether a link leads to an input, a widget's among them. @param {any} node @param {string} name */
export function isConnected(node, name) {
  const slot = (node.inputs ?? []).findIndex((/** @type {any} */ input) => (input.widget ?? input).name === name);
  return slot >= 0 && node.isInputConnected(slot);
}

/** @typedef {{id: string, prompt: Prompt, nodes: any[]}} Found */

/** @param {Place} place */
function upstreamOf(place) {
  /** @type {Found} */
  const found = { id: executionId(place), prompt: {}, nodes: [] };
  collect(place, found);
  return found;
}

/** @param {Place} place @param {Found} found @returns {string} Its id. */
function collect(place, found) {
  const { node } = place;
  const id = executionId(place);
  if (id in found.prompt) return id;
  const inputs = widgetValues(node);
  found.prompt[id] = { class_type: node.type, inputs };
  found.nodes.push(node);
  for (const input of node.inputs ?? []) {
    const origin = originOf(place, input, input.type);
    if (origin) inputs[input.name] = "value" in origin ? origin.value : [collect(origin.source, found), origin.slot];
  }
  return id;
}

/**
 * Values of the inputs that Python knows; buttons, `control_after_generate` and our own elements are not among them.
 *
 * @param {any} node
 * @returns {Record<string, any>}
 */
function widgetValues(node) {
  const { required, optional } = node.constructor.nodeData?.input ?? {};
  const isInput = (/** @type {any} */ { name }) => name.split(".")[0] in { ...required, ...optional };
  return Object.fromEntries((node.widgets ?? []).filter(isInput).map((/** @type {any} */ { name, value }) => [name, value]));
}

/** @param {Place} place @param {any} input @param {string} type @returns {Origin|null} Null where nothing arrives. */
function originOf({ node, path }, input, type) {
  const link = linkInto(node, node.inputs.indexOf(input));
  if (link) return originOfLink(link, node.graph, path, type);
  const promoted = node.subgraph && node.getWidgetFromSlot(input);
  return promoted ? { value: promoted.value } : null;
}

/** A subgraph node's own `getInputLink` looks for a link inside of it. @param {any} node @param {number} slot */
function linkInto(node, slot) {
  if (!node.subgraph) return node.getInputLink(slot);
  return [...node.graph.links.values()].find(({ target_id: id, target_slot: at }) => String(id) === String(node.id) && at === slot);
}

/** @param {any} link @param {any} graph @param {any[]} path @param {string} type @returns {Origin|null} */
function originOfLink(link, graph, path, type) {
  if (link.originIsIoNode) {
    const outer = path.at(-1);
    return originOf({ node: outer, path: path.slice(0, -1) }, outer.inputs[link.origin_slot], type);
  }
  return originOfOutput({ node: graph.getNodeById(link.origin_id), path }, link.origin_slot, type);
}

/** @param {Place} place @param {number} slot @param {string} type @returns {Origin|null} */
function originOfOutput(place, slot, type) {
  const { node, path } = place;
  if (node.mode === MUTED) return null;
  if (node.mode === BYPASSED) {
    const input = passedThrough(node, slot, type);
    return input ? originOf(place, input, type) : null;
  }
  if (node.subgraph) {
    const [link] = node.subgraph.outputNode.slots[slot].getLinks();
    return link ? originOfLink(link, node.subgraph, [...path, node], type) : null;
  }
  return node.isVirtualNode ? originOfVirtual(place, slot, type) : { source: place, slot };
}

/**
 * The input that a bypassed node hands on: the one beside the output, else the first of its type.
 *
 * @param {any} node
 * @param {number} slot
 * @param {string} type
 * @returns {any}
 */
function passedThrough({ inputs }, slot, type) {
  return [inputs[slot], ...inputs].find((input) => input && (input.type === type || input.type === "*" || type === "*"));
}

/**
 * Nodes that only exist in the browser: a reroute hands on its input, a primitive its value.
 *
 * @param {Place} place
 * @param {number} slot
 * @param {string} type
 * @returns {Origin|null}
 */
function originOfVirtual({ node, path }, slot, type) {
  const link = node.getInputLink(slot);
  if (link) return originOfLink(link, node.graph, path, type);
  return node.widgets?.length ? { value: node.widgets[0].value } : null;
}

/** Neither the node nor a subgraph around it is muted or bypassed. @param {Place} place */
function runs({ node, path }) {
  return [...path, node].every(({ mode }) => mode !== MUTED && mode !== BYPASSED);
}
