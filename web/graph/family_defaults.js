/**
 * Steps, guidance, shift and solver follow the schedule node that a person connects to a sampler, as long as nobody has changed them.
 * A schedule that comes with its sampler, from a workflow, a copy or an undo, moves nothing.
 *
 * @typedef {Record<string, any>} Values Of widgets, by name.
 */

import { isConnected } from "./graph_walk.js";

/**
 * What has to change for untouched widgets to stand at the defaults of the connected schedule or the model's family.
 *
 * @param {Record<string, Values>} defaults By class of the schedule node, or family.
 * @param {Values} values Of the widgets, without those that are fed by a link.
 * @param {string} [kind] Class or family; nothing changes for others.
 * @returns {Values} New values of some widgets.
 */
export function follow(defaults, values, kind = "") {
  const isAt = (/** @type {Values} */ set) => Object.entries(set).every(([name, value]) => values[name] === value);
  const isUntouched = Object.values(defaults).some(isAt);
  return isUntouched ? Object.fromEntries(Object.entries(defaults[kind] ?? {}).filter(([name, value]) => values[name] !== value)) : {};
}

/** The same for a node. @param {any} node @param {string} [kind] */
export function followNode(node, kind) {
  const free = node.widgets.filter((/** @type {any} */ { name }) => !isConnected(node, name));
  const values = Object.fromEntries(free.map((/** @type {any} */ { name, value }) => [name, value]));
  return follow(node.constructor.nodeData.input.optional.schedule[1].defaults ?? {}, values, kind);
}

/** Notices the schedules that a person connects. What happens to the nodes in one go, as when a workflow is loaded, is judged together. */
export class ScheduleWatch {
  /** @type {WeakMap<object, object|null>} The schedule that a sampler was last seen with. */
  seen = new WeakMap();
  /** @type {Set<object>} Samplers and schedules. */
  created = new Set();
  /** @type {Set<object>} Samplers that got their values from a workflow or a copy. */
  configured = new Set();
  /** @type {Set<object>} Samplers whose `schedule` was connected or disconnected. */
  linked = new Set();
  isWaiting = false;

  /**
   * @param {(sampler: any) => any} scheduleOf The schedule node that a sampler has now, or null.
   * @param {(sampler: any, schedule: any) => void} onConnect
   */
  constructor(scheduleOf, onConnect) {
    this.scheduleOf = scheduleOf;
    this.onConnect = onConnect;
  }

  /** @param {"created"|"configured"|"linked"} event @param {object} node */
  async note(event, node) {
    this[event].add(node);
    if (this.isWaiting) return;
    this.isWaiting = true;
    await null; // until a workflow or a copy is complete
    this.isWaiting = false;
    const { created, configured, linked } = this;
    this.created = new Set();
    this.configured = new Set();
    this.linked = new Set();
    for (const sampler of new Set([...configured, ...linked])) {
      const schedule = this.scheduleOf(sampler);
      const cameAlong = configured.has(sampler) || (created.has(sampler) && created.has(schedule));
      const isNew = schedule && schedule !== this.seen.get(sampler);
      this.seen.set(sampler, schedule);
      if (isNew && !cameAlong) this.onConnect(sampler, schedule);
    }
  }
}
