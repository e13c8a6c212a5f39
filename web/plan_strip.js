/**
 * What the sampler is going to do, drawn under its sliders before it runs.
 *
 * @typedef {{trace: import("./trace.js").Trace, exact: boolean, note: string} | {error: string}} Plan
 */

import { create, setText } from "./elements.js";
import { TracePlot } from "./trace_plot.js";
import { TraceError, describeCell, gridOf, headlineOf, parseTrace } from "./trace.js";

const HINT = "Point at a cell, or use the arrow keys, to see what will happen there and why.";

/**
 * What the strip says and draws.
 *
 * @param {Plan} plan
 * @returns {{headline: string, badge: string, note: string, grid: import("./trace.js").Grid|null}}
 */
export function readPlan({ error, trace, exact, note }) {
  try {
    if (error) throw new TraceError(error);
    const grid = gridOf(parseTrace(trace));
    const { evaluations } = headlineOf(trace);
    const { skipped_reason: reason } = trace.totals;
    const notes = [note, trace.run.method !== "off" && reason && `Nothing is skipped. ${reason}`].filter(Boolean);
    return { headline: `Plan: ${evaluations}`, badge: exact ? "exact" : "estimated", note: notes.join(" "), grid };
  } catch (problem) {
    if (!(problem instanceof TraceError)) throw problem;
    return { headline: "No plan", badge: "", note: problem.message, grid: null };
  }
}

export class PlanStrip {
  constructor() {
    this.headline = create("div", "scope-plan-headline", ["Plan"]);
    this.badge = create("span", "scope-plan-badge");
    this.note = create("span", "scope-plan-note");
    this.cell = create("div", "scope-plan-cell");
    this.cell.setAttribute("role", "status");
    this.plot = new TracePlot({ label: "Plan of iterations and chunks.", compact: true, onSelect: () => this.showCell() });
    const words = create("div", "scope-plan-words", [this.headline, create("div", "scope-plan-line", [this.badge, this.note]), this.cell]);
    this.element = create("div", "scope-panel scope-plan", [create("div", "scope-panel-body", [words, this.plot.element])]);
    this.showCell();
  }

  connect() {
    this.plot.connect();
  }

  disconnect() {
    this.plot.disconnect();
  }

  /** @param {Plan} plan */
  show(plan) {
    const { headline, badge, note, grid } = readPlan(plan);
    setText(this.headline, headline);
    setText(this.badge, badge);
    setText(this.note, note || HINT);
    this.badge.title = note;
    this.plot.element.hidden = !grid;
    this.plot.show(grid);
  }

  /** While the cursor is on a cell, its story lies over the number and the note. */
  showCell() {
    const { cell, grid, pinned } = this.plot;
    const [position, decision, numbers] = cell ? describeCell(grid, cell) : [];
    this.cell.hidden = !cell;
    setText(this.cell, cell ? `${pinned ? "Held. " : ""}${decision} ${position} ${numbers}` : "");
  }
}
