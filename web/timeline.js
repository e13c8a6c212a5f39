/**
 * The timeline widget: numbers, legend, heat-map and a line that explains the cell under the pointer.
 *
 * @typedef {import("./trace.js").Trace} Trace
 */

import { LEGEND, drawSwatch, svgOf } from "./draw_trace.js";
import { button, create, downloadJson, downloadPng, downloadSvg, setText } from "./elements.js";
import { LOOK, TraceError, applyStep, countLooks, describeCell, grownGrid, headlineOf, isStepEvent, parseTrace } from "./trace.js";
import { TracePlot } from "./trace_plot.js";

const EMPTY_TEXT = "Run the workflow to see which steps were computed, predicted or reused, and why.";
const HINT =
  "Point at a cell, or use the arrow keys, to see what happened there and why. Click or press Enter to hold a cell, Escape to let go.";
const EXPORT_SIZE = { width: 1280, tallest: 480 };
const SWATCH_SIZE = { width: 16, height: 11, pixelRatio: 2 };

export class Timeline {
  /** @type {Trace|null} */
  trace = null;
  problem = "";
  grid = null;
  frameRequest = 0;

  constructor() {
    this.build();
    this.refresh();
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.plot.connect();
  }

  disconnect() {
    this.plot.disconnect();
  }

  /** @param {unknown} payload A trace or its JSON text. */
  show(payload) {
    try {
      this.trace = parseTrace(payload);
      this.problem = "";
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      this.trace = null;
      this.problem = error.message;
    }
    this.refresh();
  }

  /** @param {import("./trace.js").StepEvent} event */
  follow(event) {
    if (!isStepEvent(event)) return;
    const before = this.trace;
    this.trace = applyStep(this.trace, event);
    if (this.trace !== before) this.plot.release();
    this.requestRefresh();
  }

  build() {
    this.evaluations = create("span", "scope-timeline-evaluations");
    this.time = create("span", "scope-timeline-time");
    this.note = create("span", "scope-timeline-note");
    const headline = create("div", "scope-timeline-headline", [this.evaluations, this.time, this.note]);
    const buttons = create("div", "scope-timeline-buttons", [
      button("PNG", "Save the picture", () => downloadPng(this.picture(), "scope_timeline.png")),
      button("SVG", "Save the picture as vectors, for a paper or a slide", () => downloadSvg(this.picture(), "scope_timeline.svg")),
      button("JSON", "Save the trace", () => downloadJson(this.trace, "scope_trace.json")),
    ]);
    this.top = create("div", "scope-timeline-top", [headline, buttons]);
    this.legendEntries = LEGEND.map(legendEntry);
    this.legend = create("div", "scope-timeline-legend", this.legendEntries.map(({ element }) => element));

    this.plot = new TracePlot({
      label: "Timeline of iterations and chunks.",
      onSelect: () => this.showDetails(),
      onTheme: () => this.drawLegend(),
    });

    this.details = create("div", "scope-timeline-details");
    this.details.setAttribute("role", "status");
    this.details.setAttribute("aria-live", "polite");
    this.empty = create("div", "scope-panel-empty");

    const body = create("div", "scope-panel-body", [this.top, this.legend, this.plot.element, this.details, this.empty]);
    this.element = create("div", "scope-panel scope-timeline", [body]);
  }

  /** Once per screen frame, however many events arrive. */
  requestRefresh() {
    this.frameRequest ||= requestAnimationFrame(() => {
      this.frameRequest = 0;
      this.refresh();
    });
  }

  refresh() {
    this.grid = this.trace && grownGrid(this.grid, this.trace);
    const hasCells = Boolean(this.grid?.columns);
    for (const part of [this.top, this.legend, this.plot.element, this.details]) part.hidden = !hasCells;
    this.empty.hidden = hasCells;
    setText(this.empty, this.problem || EMPTY_TEXT);
    if (hasCells) this.showNumbers();
    this.plot.show(this.grid);
  }

  showNumbers() {
    const { evaluations, frames, time, timing, note } = headlineOf(this.trace);
    setText(this.evaluations, evaluations);
    this.evaluations.title = frames;
    setText(this.time, time);
    this.time.title = timing;
    setText(this.note, note);
    const counts = countLooks(this.grid);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    for (const { element, label, look, name, meaning } of this.legendEntries) {
      const count = counts[look];
      element.title = count === undefined ? meaning : `${meaning}: ${count} of ${total} chunk steps`;
      const share = count === undefined || !total ? "" : ` ${Math.round((100 * count) / total)}%`;
      setText(label, name + share);
    }
  }

  showDetails() {
    const { cell, grid, pinned } = this.plot;
    const lines = cell ? describeCell(grid, cell) : [HINT];
    if (pinned) lines[0] = `Held. ${lines[0]}`;
    setText(this.details, lines.join("\n"));
  }

  drawLegend() {
    for (const { canvas, look } of this.legendEntries) drawSwatch(canvas, look, this.plot.theme, SWATCH_SIZE);
  }

  picture() {
    return svgOf(this.grid, { ...EXPORT_SIZE, theme: this.plot.theme });
  }
}

function legendEntry([look, name, meaning]) {
  const [canvas, label] = [create("canvas"), create("span", "", [name])];
  const element = create("span", look < LOOK.recompute ? "scope-timeline-idle" : "", [canvas, label]);
  return { element, canvas, label, look, name, meaning };
}
