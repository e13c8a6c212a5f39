/**
 * Following a run: a trace that grows by one live event per step.
 *
 * @typedef {import("./trace.js").Segment} Segment
 * @typedef {import("./trace.js").Trace} Trace
 *
 * @typedef {object} StepEvent
 * @property {string} [node]
 * @property {Omit<Segment, "steps">|number} segment The segment's header with its first step, its index afterwards.
 * @property {number} index Of the step in its segment.
 * @property {import("./trace.js").Step} step
 * @property {Trace["rules"]} [rules] With the header of a segment.
 * @property {number|null} [iterations] Of the whole run, with the header of a segment.
 */

import { FORMAT, VERSION } from "./trace.js";

/**
 * Whether a live event has the shape that Python sends; any other is to be left alone.
 *
 * @param {any} event
 * @returns {event is StepEvent}
 */
export function isStepEvent(event) {
  const { segment, index, step } = event;
  const isHeader = Array.isArray(segment?.units) && Array.isArray(segment.sigmas) && Number.isInteger(segment.index);
  const isStep = Number.isInteger(index) && typeof step?.modes === "string" && typeof step.rules === "string" && Array.isArray(step.frames);
  return isStep && (isHeader || Number.isInteger(segment));
}

/**
 * The trace with the step of one event. A header of segment 0 starts a new run; steps of a segment whose header was missed (the
 * page was opened in mid-run) are left out. Steps that were missed leave holes.
 *
 * @param {Trace|null} trace
 * @param {StepEvent} event
 * @returns {Trace|null}
 */
export function applyStep(trace, event) {
  const [header, index] = typeof event.segment === "object" ? [event.segment, event.segment.index] : [null, event.segment];
  let live = trace && !trace.totals && !trace.ended ? trace : null;
  if (header) {
    live = live && index > 0 ? live : emptyTrace();
    live.segments.push({ ...header, steps: [], planned: plannedIterations(header) });
    Object.assign(live.rules, event.rules);
    live.expected = event.iterations ?? undefined;
  }
  const segment = live?.segments.find((candidate) => candidate.index === index);
  if (!segment) return trace;
  segment.steps[event.index] = event.step;
  return live;
}

/** @returns {Trace} */
function emptyTrace() {
  return { format: FORMAT, version: VERSION, run: {}, rules: {}, segments: [] };
}

/** @param {Omit<Segment, "steps">} header */
function plannedIterations({ sigmas, units, ar_step }) {
  return sigmas.length - 1 + (units.length - 1) * ar_step;
}
