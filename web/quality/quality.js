/**
 * The quality widget: how far every frame is from the unaccelerated run.
 *
 * @typedef {import("./layout_curve.js").CurveLayout} CurveLayout
 * @typedef {import("./measurement.js").Quality} Quality
 */

import { clamp } from "../lib/clamp.js";
import { button, create, panel, selectBox, setText } from "../lib/elements.js";
import { meaning } from "../lib/fidelity.js";
import { t } from "../lib/language.js";
import { readOrExplain } from "../lib/payload.js";
import { downloadJson, downloadPng, downloadSvg } from "../lib/saving.js";
import { SvgPlot } from "../lib/svg_plot.js";
import { drawCursor, drawQuality } from "./draw_quality.js";
import { describeFrame, parseQuality, summaryOf } from "./measurement.js";

const EXPORT_SIZE = { width: 960, height: 420 };

export class QualityCurve {
  /** @type {Quality|null} */
  quality = null;
  problem = "";
  metricName = "";

  metrics = selectBox(t("Metric of the curve"), [], (name) => this.choose(name));
  summary = create("table", "scope-quality-summary");
  /** @type {SvgPlot<CurveLayout, number>} */
  plot = new SvgPlot({
    className: "scope-quality-plot",
    label: t("Quality of every frame. Move with the arrow keys."),
    draw: (room) => this.quality && drawQuality(this.quality, this.quality.metrics[this.metricName], room),
    drawCursor,
    at: ({ frameAt }, x) => frameAt(x),
    next: ({ points }, key, frame, stride) => frameBeside(frame ?? 0, key, stride, points.length - 1),
    first: () => 0,
    find: (_, frame) => frame,
    onMove: () => this.showDetails(),
    canHold: false,
  });
  drawn = this.plot;
  details = create("div", "scope-quality-details");
  notes = create("div", "scope-quality-small");
  empty = create("div", "scope-panel-empty");

  constructor() {
    const saving = create("div", "scope-quality-saving", [
      button("SVG", t("Save the curve as SVG"), () => downloadSvg(this.picture(), `scope_quality_${this.metricName}.svg`)),
      button("PNG", t("Save the curve as PNG"), () => downloadPng(this.picture(), `scope_quality_${this.metricName}.png`)),
      button("JSON", t("Save all values"), () => downloadJson(this.quality, "scope_quality.json")),
    ]);
    const controls = create("div", "scope-quality-controls", [this.metrics, saving]);
    const small = create("div", "scope-quality-small", [meaning()]);
    this.details.setAttribute("role", "status");
    const parts = [controls, this.summary, small, this.plot.element, this.details, this.notes];
    this.content = create("div", "scope-quality-content", parts);
    this.element = panel("scope-quality", [this.content, this.empty]);
    this.refresh();
  }

  /** @param {unknown} payload */
  show(payload) {
    ({ value: this.quality, problem: this.problem } = readOrExplain(() => parseQuality(payload)));
    this.refresh();
  }

  /** @param {string} name */
  choose(name) {
    this.metricName = name;
    this.plot.draw();
  }

  refresh() {
    const { quality } = this;
    this.content.hidden = !quality;
    this.empty.hidden = Boolean(quality);
    setText(this.empty, this.problem || t("Run the workflow to see how close every frame is to the unaccelerated run."));
    if (!quality) return;
    const names = Object.keys(quality.metrics);
    if (!names.includes(this.metricName)) [this.metricName] = names;
    this.metrics.replaceChildren(...names.map((name) => new Option(quality.metrics[name].label, name)));
    this.metrics.value = this.metricName;
    const [head, ...rows] = summaryOf(quality);
    this.summary.replaceChildren(tableRow("th", head), ...rows.map((cells) => tableRow("td", cells)));
    setText(this.notes, quality.notes.join(" "));
    this.plot.cursor.release();
    this.plot.draw();
  }

  showDetails() {
    const { place: frame } = this.plot.cursor;
    const hint = t("Point at the curve, or use the arrow keys, to read the values of a frame.");
    setText(this.details, this.quality && frame !== null ? describeFrame(this.quality, frame) : hint);
  }

  picture() {
    const quality = /** @type {Quality} */ (this.quality);
    return drawQuality(quality, quality.metrics[this.metricName], { ...EXPORT_SIZE, theme: this.plot.theme, hasCaption: true }).svg;
  }
}

/** @param {number} frame @param {string} key @param {number} stride @param {number} last */
function frameBeside(frame, key, stride, last) {
  /** @type {Record<string, number>} */
  const moves = { ArrowLeft: frame - stride, ArrowRight: frame + stride, Home: 0, End: last };
  return key in moves ? clamp(moves[key], 0, last) : null;
}

/** @param {"th"|"td"} tag @param {string[]} cells */
function tableRow(tag, cells) {
  return create("tr", "", cells.map((cell) => create(tag, "", [cell])));
}
