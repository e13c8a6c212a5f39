/**
 * The quality widget: how far every frame is from the unaccelerated run.
 *
 * @typedef {import("./draw_quality.js").Quality} Quality
 */

import { MEANING } from "./axes.js";
import { describeFrame, drawCursor, drawQuality, parseQuality, summaryOf } from "./draw_quality.js";
import { themeOf } from "./draw_trace.js";
import { LookObserver, button, create, downloadJson, downloadPng, downloadSvg, selectBox, setText } from "./elements.js";
import { PayloadError } from "./payload.js";
import { clamp } from "./playback.js";

const EMPTY_TEXT = "Run the workflow to see how close every frame is to the unaccelerated run.";
const HINT = "Point at the curve, or use the arrow keys, to read the values of a frame.";
const EXPORT_SIZE = { width: 960, height: 420 };

export class QualityCurve {
  /** @type {Quality|null} */
  quality = null;
  metricName = "";
  /** @type {number|null} */
  frame = null;
  layout = null;

  constructor() {
    this.build();
    this.listen();
    this.look = new LookObserver(this.plot, () => this.draw());
    this.refresh();
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.look.connect();
  }

  disconnect() {
    this.look.disconnect();
  }

  /** @param {unknown} payload */
  show(payload) {
    try {
      this.quality = parseQuality(payload);
      this.refresh();
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      this.quality = null;
      this.refresh(error.message);
    }
  }

  get metric() {
    return this.quality.metrics[this.metricName];
  }

  build() {
    this.metrics = selectBox("Metric of the curve", [], (name) => this.choose(name));
    const saving = create("div", "scope-quality-saving", [
      button("SVG", "Save the curve as SVG", () => downloadSvg(this.picture(), this.fileName("svg"))),
      button("PNG", "Save the curve as PNG", () => downloadPng(this.picture(), this.fileName("png"))),
      button("JSON", "Save all values", () => downloadJson(this.quality, "scope_quality.json")),
    ]);
    this.summary = create("table", "scope-quality-summary");
    const meaning = create("div", "scope-quality-small", [MEANING]);
    const controls = create("div", "scope-quality-controls", [this.metrics, saving]);

    this.plot = create("div", "scope-quality-plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "application");
    this.plot.setAttribute("aria-label", "Quality of every frame. Move with the arrow keys.");
    this.details = create("div", "scope-quality-details");
    this.details.setAttribute("role", "status");
    this.notes = create("div", "scope-quality-small");

    this.content = create("div", "scope-quality-content", [controls, this.summary, meaning, this.plot, this.details, this.notes]);
    this.empty = create("div", "scope-panel-empty");
    this.element = create("div", "scope-panel scope-quality", [create("div", "scope-panel-body", [this.content, this.empty])]);
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => this.select(this.frameAt(event)));
    this.plot.addEventListener("pointerleave", () => this.select(null));
    this.plot.addEventListener("focus", () => {
      if (this.frame === null && this.plot.matches(":focus-visible")) this.select(0);
    });
    this.plot.addEventListener("blur", () => this.select(null));
    this.plot.addEventListener("keydown", (event) => {
      if (!this.handleKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  handleKey({ key, shiftKey, ctrlKey, metaKey, altKey }) {
    if (ctrlKey || metaKey || altKey) return false;
    const frame = this.frame ?? 0;
    const stride = shiftKey ? 10 : 1;
    const last = this.quality.frames - 1;
    const moves = { ArrowLeft: frame - stride, ArrowRight: frame + stride, Home: 0, End: last };
    if (!(key in moves)) return false;
    this.select(clamp(moves[key], 0, last));
    return true;
  }

  frameAt(event) {
    const box = this.plot.getBoundingClientRect();
    return this.layout?.frameAt(((event.clientX - box.left) / box.width) * this.plot.clientWidth) ?? null;
  }

  choose(name) {
    this.metricName = name;
    this.draw();
  }

  /** @param {number|null} frame */
  select(frame) {
    this.frame = frame;
    setText(this.details, frame === null ? HINT : describeFrame(this.quality, frame));
    this.cursor?.remove();
    if (frame === null || !this.layout) return;
    this.cursor = drawCursor(this.layout, frame, this.theme);
    this.svg.append(this.cursor);
  }

  refresh(problem = "") {
    const { quality } = this;
    this.content.hidden = !quality;
    this.empty.hidden = Boolean(quality);
    setText(this.empty, problem || EMPTY_TEXT);
    if (!quality) return;
    const names = Object.keys(quality.metrics);
    if (!names.includes(this.metricName)) [this.metricName] = names;
    this.metrics.replaceChildren(...names.map((name) => new Option(quality.metrics[name].label, name)));
    this.metrics.value = this.metricName;
    const [head, ...rows] = summaryOf(quality);
    this.summary.replaceChildren(tableRow("th", head), ...rows.map((cells) => tableRow("td", cells)));
    setText(this.notes, quality.notes.join(" "));
    this.frame = null;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!this.quality || !width || !height) return;
    this.theme = themeOf(this.element);
    const { svg, layout } = drawQuality(this.quality, this.metric, { width, height, theme: this.theme });
    svg.setAttribute("aria-hidden", "true");
    this.svg = svg;
    this.layout = layout;
    this.plot.replaceChildren(svg);
    this.select(this.frame);
  }

  picture() {
    return drawQuality(this.quality, this.metric, { ...EXPORT_SIZE, theme: this.theme, caption: true }).svg;
  }

  fileName(ending) {
    return `scope_quality_${this.metricName}.${ending}`;
  }
}

function tableRow(tag, cells) {
  return create("tr", "", cells.map((cell) => create(tag, "", [cell])));
}
