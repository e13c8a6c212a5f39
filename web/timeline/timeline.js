/**
 * The timeline widget: numbers, legend, heat-map and a line that explains the cell under the pointer.
 *
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./trace.js").Trace} Trace
 */

import { button, create, panel, setText } from "../lib/elements.js";
import { percent } from "../lib/formats.js";
import { t } from "../lib/language.js";
import { oncePerScreenFrame } from "../lib/look_observer.js";
import { readOrExplain } from "../lib/payload.js";
import { downloadJson, downloadPng, downloadSvg } from "../lib/saving.js";
import { describeCell } from "./cell_words.js";
import { svgOf } from "./draw_trace.js";
import { countLooks, grownGrid } from "./grid.js";
import { headlineOf } from "./headline.js";
import { applyStep, isStepEvent } from "./live_trace.js";
import { parseTrace } from "./trace.js";
import { TracePlot } from "./trace_plot.js";

const EXPORT_SIZE = { width: 1280, tallest: 480 };

export class Timeline {
  /** @type {Trace|null} */
  trace = null;
  problem = "";
  isEarlier = false;
  /** @type {Grid|null} */
  grid = null;

  evaluations = create("span", "scope-timeline-evaluations");
  time = create("span", "scope-timeline-time");
  note = create("span", "scope-timeline-note");
  plot = new TracePlot({
    label: t("Timeline of iterations and chunks. Move with the arrow keys."),
    onMove: () => this.showDetails(),
  });
  drawn = this.plot;
  details = create("div", "scope-timeline-details");
  empty = create("div", "scope-panel-empty");
  requestRefresh = oncePerScreenFrame(() => this.refresh());

  constructor() {
    const headline = create("div", "scope-timeline-headline", [this.evaluations, this.time, this.note]);
    const buttons = create("div", "scope-timeline-buttons", [
      button("PNG", t("Save the picture"), () => downloadPng(this.picture(), "scope_timeline.png")),
      button("SVG", t("Save the picture as vectors, for a paper or a slide"), () => downloadSvg(this.picture(), "scope_timeline.svg")),
      button("JSON", t("Save the trace"), () => downloadJson(this.trace, "scope_trace.json")),
    ]);
    this.top = create("div", "scope-timeline-top", [headline, buttons]);
    this.details.setAttribute("role", "status");
    this.details.setAttribute("aria-live", "polite");
    this.element = panel("scope-timeline", [this.top, this.plot.legend.element, this.plot.element, this.details, this.empty]);
    this.refresh();
  }

  /** @param {unknown} payload A trace or its JSON text. */
  show(payload) {
    ({ value: this.trace, problem: this.problem } = readOrExplain(() => parseTrace(payload)));
    this.isEarlier = false;
    this.refresh();
  }

  /** @param {unknown} event A step that has just been made; anything else is left alone. */
  follow(event) {
    if (!isStepEvent(event)) return;
    const before = this.trace;
    this.trace = applyStep(this.trace, event);
    if (this.trace !== before) {
      this.isEarlier = false;
      this.plot.cursor.release();
    }
    this.requestRefresh();
  }

  /** The run ended. @param {string} how Such as "cancelled", empty where it was finished. */
  end(how) {
    if (!how || !this.trace || this.trace.totals || this.trace.ended) return;
    this.trace.ended = how;
    this.refresh();
  }

  /** What the next run is going to do: where it is something else, the picture is of an earlier one. @param {import("./plan_strip.js").Plan} plan */
  compareWith({ trace: plan, exact }) {
    this.isEarlier = Boolean(exact && this.trace?.totals && differ(this.trace, /** @type {Trace} */ (plan)));
    this.refresh();
  }

  refresh() {
    this.grid = this.trace && grownGrid(this.grid, this.trace);
    const hasCells = Boolean(this.grid?.columns);
    this.element.classList.toggle("scope-timeline-earlier", this.isEarlier);
    for (const part of [this.top, this.plot.legend.element, this.plot.element, this.details]) part.hidden = !hasCells;
    this.empty.hidden = hasCells;
    setText(this.empty, this.problem || t("Run the workflow to see which steps were computed, predicted or reused, and why."));
    if (this.grid && hasCells) this.showNumbers(this.grid);
    this.plot.show(this.grid);
  }

  /** @param {Grid} grid */
  showNumbers(grid) {
    const { evaluations, frames, time, timing, note } = headlineOf(grid.trace);
    setText(this.evaluations, evaluations);
    this.evaluations.title = frames;
    setText(this.time, time);
    this.time.title = timing;
    const earlier = t("This is an earlier run: the settings were changed since. Run the workflow again to see them at work.");
    setText(this.note, this.isEarlier ? earlier : note);
    const counts = countLooks(grid);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    this.plot.legend.show(({ example, name, meaning }) => {
      if (!(example in counts) || !total) return { text: name, title: meaning };
      const title = t("{meaning}: {count} of {total} chunk steps", { meaning, count: counts[example], total });
      return { text: `${name} ${percent(counts[example], total)}`, title };
    });
  }

  showDetails() {
    const { grid, cursor } = this.plot;
    const hint = t("Point at a cell, or use the arrow keys, to see what happened there and why. Click or press Enter to hold a cell, Escape to let go.");
    const story = grid && cursor.place ? describeCell(grid, cursor.place).join("\n") : hint;
    setText(this.details, cursor.isHeld ? t("Held. {story}", { story }) : story);
  }

  picture() {
    return svgOf(/** @type {Grid} */ (this.grid), { ...EXPORT_SIZE, theme: this.plot.theme ?? undefined });
  }
}

/** Whether a plan is for another run than that of a trace. @param {Trace} trace @param {Trace} plan */
function differ(trace, plan) {
  const told = (/** @type {Trace} */ { run, totals }) => JSON.stringify([Object.entries(run.settings ?? {}).sort(), totals?.iterations, totals?.computed]);
  return told(trace) !== told(plan);
}
