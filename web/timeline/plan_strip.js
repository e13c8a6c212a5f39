/**
 * What the sampler is going to do, drawn under its sliders before it runs.
 *
 * @typedef {{trace?: unknown, exact?: boolean, note?: string, error?: string, idle?: Record<string, string>}} Plan An answer of Python.
 * @typedef {import("./grid.js").Grid} Grid
 */

import { create, panel, setText } from "../lib/elements.js";
import { t } from "../lib/language.js";
import { readOrExplain } from "../lib/payload.js";
import { describeCell } from "./cell_words.js";
import { gridOf } from "./grid.js";
import { headlineOf, iterationsDone, leftText } from "./headline.js";
import { applyStep, isStepEvent } from "./live_trace.js";
import { parseTrace } from "./trace.js";
import { TracePlot } from "./trace_plot.js";

/**
 * What the strip says and draws.
 *
 * @param {Plan} plan
 * @returns {{headline: string, badge: string, note: string, grid: Grid|null}}
 */
export function readPlan({ error, trace: payload, exact, note }) {
  const { value: trace, problem } = error ? { value: null, problem: error } : readOrExplain(() => parseTrace(payload));
  if (!trace) return { headline: t("No plan"), badge: "", note: problem, grid: null };
  const reason = trace.totals?.skipped_reason;
  const notes = [note, trace.run.method !== "off" && reason && t("Nothing is skipped. {reason}", { reason })].filter(Boolean);
  return {
    headline: t("Plan: {evaluations}", { evaluations: headlineOf(trace).evaluations }),
    badge: exact ? t("exact") : t("estimated"),
    note: notes.join(" "),
    grid: gridOf(trace),
  };
}

export class PlanStrip {
  headline = create("div", "scope-plan-headline", [t("Plan")]);
  badge = create("span", "scope-plan-badge");
  note = create("span", "scope-plan-note");
  cell = create("div", "scope-plan-cell");
  usualNote = hint();
  /** @type {import("./trace.js").Trace|null} A run in progress. */
  live = null;
  plot = new TracePlot({
    label: t("Plan of iterations and chunks. Move with the arrow keys."),
    onMove: () => this.showCell(),
  });
  drawn = this.plot;

  constructor() {
    this.cell.setAttribute("role", "status");
    const words = create("div", "scope-plan-words", [this.headline, create("div", "scope-plan-line", [this.badge, this.note]), this.cell]);
    this.element = panel("scope-plan", [words, this.plot.legend.element, this.plot.element]);
    this.showCell();
  }

  /** @param {Plan} plan */
  show(plan) {
    const { headline, badge, note, grid } = readPlan(plan);
    setText(this.headline, headline);
    setText(this.badge, badge);
    this.usualNote = note || hint();
    if (!this.live) setText(this.note, this.usualNote);
    this.badge.title = note;
    for (const part of [this.plot.legend.element, this.plot.element]) part.hidden = !grid;
    this.plot.legend.show(({ example, name, meaning }) => (isDrawn(grid, example) ? { text: name, title: meaning } : null));
    this.plot.show(grid);
  }

  /** How far the run is, in the place of the note, until it ends. @param {unknown} event A step that has just been made. */
  follow(event) {
    if (!isStepEvent(event)) return;
    this.live = applyStep(this.live, event);
    if (this.live) setText(this.note, progressText(this.live));
  }

  /** The run has ended. */
  end() {
    this.live = null;
    setText(this.note, this.usualNote);
  }

  /** While the cursor is on a cell, its story lies over the number and the note. */
  showCell() {
    const { grid, cursor } = this.plot;
    this.cell.hidden = !cursor.place;
    setText(this.cell, grid && cursor.place ? storyOf(grid, cursor.place, cursor.isHeld) : "");
  }
}

/** Only what is there to be told apart. @param {Grid|null} grid @param {import("./legend.js").Example} example */
function isDrawn(grid, example) {
  return typeof example === "number" && Boolean(grid?.looks.includes(example));
}

/** @param {Grid} grid @param {import("./grid.js").Cell} cell @param {boolean} isHeld */
function storyOf(grid, cell, isHeld) {
  const [position, decision, numbers] = describeCell(grid, cell);
  const story = `${decision} ${position} ${numbers}`;
  return isHeld ? t("Held. {story}", { story }) : story;
}

function hint() {
  return t("Point at a cell, or use the arrow keys, to see what will happen there and why.");
}

/** @param {import("./trace.js").Trace} live */
function progressText(live) {
  const [done, iterations, left] = [iterationsDone(live), live.expected, leftText(live)];
  if (!iterations) return t("Running: iteration {done}.", { done });
  if (!left) return t("Running: iteration {done} of {iterations}.", { done, iterations });
  return t("Running: iteration {done} of {iterations}, {left}.", { done, iterations, left });
}
