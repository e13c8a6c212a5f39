/**
 * The trade-off widget: speed against fidelity of all measured settings, and what can be done with each.
 *
 * @typedef {import("./layout.js").Layout} Layout
 * @typedef {import("./layout.js").Symbol} Symbol
 * @typedef {import("./marks.js").Cost} Cost
 * @typedef {import("./marks.js").View} View
 * @typedef {import("./runs.js").Point} Point
 * @typedef {import("./runs.js").Runs} Runs
 */

import { ChoiceButtons } from "../lib/choice_buttons.js";
import { button, create, panel, setText } from "../lib/elements.js";
import { meaning } from "../lib/fidelity.js";
import { t } from "../lib/language.js";
import { readOrExplain } from "../lib/payload.js";
import { downloadJson, downloadPng, downloadSvg } from "../lib/saving.js";
import { asSentence } from "../lib/sentences.js";
import { SvgPlot } from "../lib/svg_plot.js";
import { drawCursor, drawTradeoff } from "./draw_tradeoff.js";
import { neighbour, symbolNear } from "./find_symbol.js";
import { actionsFor } from "./point_actions.js";
import { hasSeconds, isPoint, isPointEvent, isSamePoint, parseRuns, withPoint } from "./runs.js";
import { describePoint, noteOfPlan, progressOf, titleOf } from "./words.js";

const EXPORT_SIZE = { width: 960, height: 600 };

export class TradeoffChart {
  /** @type {Runs|null} */
  runs = null;
  /** @type {Point[]} */
  plan = [];
  /** How many a sweep makes with every setting. */
  clips = 1;
  /** @type {Point|null} */
  current = null;
  planNote = "";
  problem = "";
  /** @type {Cost} */
  cost = "evaluations";
  metric = "";
  message = "";
  /** @type {import("./words.js").Running} What is being run; no label where nothing is. */
  running = { label: "", clip: 1 };
  /** @type {Point|null} The point that the buttons are for. */
  offered = null;

  costs = new ChoiceButtons("scope-tradeoff-switch", t("Cost"), (name) => this.choose({ cost: name }));
  metrics = new ChoiceButtons("scope-tradeoff-switch", t("Quality"), (name) => this.choose({ metric: name }));
  top = create("div", "scope-tradeoff-top", [this.costs.element, this.metrics.element]);
  /** @type {SvgPlot<Layout, Symbol>} */
  plot = new SvgPlot({
    className: "scope-tradeoff-plot",
    label: t("Chart of speed against fidelity. Move between the settings with the arrow keys."),
    draw: (room) => drawTradeoff(this.view, room),
    drawCursor,
    at: ({ symbols }, x, y) => symbolNear(symbols, x, y),
    next: ({ symbols }, key, symbol) => neighbour(symbols, symbol, key),
    first: ({ symbols }) => neighbour(symbols, null, "Home"),
    find: ({ symbols }, { point }) => symbols.find((symbol) => isSamePoint(symbol.point, point)) ?? null,
    onMove: (before) => this.showPoint(before),
  });
  drawn = this.plot;
  title = create("span", "scope-tradeoff-title");
  actions = create("div", "scope-tradeoff-actions");
  text = create("div", "scope-tradeoff-text");
  details = create("div", "scope-tradeoff-details", [create("div", "scope-tradeoff-head", [this.title, this.actions]), this.text]);
  notes = create("div", "scope-tradeoff-notes");
  saving = create("div", "scope-tradeoff-saving", [
    button("SVG", t("Save the chart as SVG"), () => downloadSvg(this.picture(), "scope_tradeoff.svg")),
    button("PNG", t("Save the chart as PNG"), () => downloadPng(this.picture(), "scope_tradeoff.png")),
    button("JSON", t("Save the runs"), () => downloadJson(this.runs ?? this.plan, "scope_runs.json")),
  ]);
  empty = create("div", "scope-panel-empty");

  /** @param {import("./point_actions.js").Callbacks} callbacks */
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.text.setAttribute("role", "status");
    const foot = create("div", "scope-tradeoff-foot", [this.notes, this.saving]);
    this.element = panel("scope-tradeoff", [this.top, this.plot.element, this.details, this.empty, foot]);
    this.refresh();
  }

  /** @param {unknown} payload */
  show(payload) {
    this.read(() => parseRuns(payload));
  }

  /** @param {unknown} event A point that has just been measured; anything else is left alone. */
  add(event) {
    if (isPointEvent(event)) this.read(() => withPoint(this.runs, event));
  }

  /** A setting is being run. @param {string} label @param {number} clip Counted from 1. */
  progress(label, clip = 1) {
    if (label === this.running.label && clip === this.running.clip) return;
    this.running = { label, clip };
    this.showDetails();
  }

  /** The sweep has ended, finished or not. */
  end() {
    this.progress("");
  }

  /** @param {unknown} points Settings that will be measured; null where nothing is known. @param {string} [note] @param {number} [clips] */
  showPlan(points, note = "", clips = 1) {
    this.plan = Array.isArray(points) ? points.filter(isPoint) : [];
    this.clips = clips;
    this.planNote = note;
    this.refresh();
  }

  /** @param {unknown} point Setting of the sampler. */
  showCurrent(point) {
    this.current = isPoint(point) ? point : null;
    this.refresh();
  }

  /** @param {() => Runs} read */
  read(read) {
    ({ value: this.runs, problem: this.problem } = readOrExplain(read));
    this.refresh();
  }

  /** @param {object} choice */
  choose(choice) {
    Object.assign(this, choice);
    this.refresh();
  }

  /** @returns {View} */
  get view() {
    const { runs, plan, clips, current } = this;
    const metrics = runs?.metrics ?? {};
    return {
      runs,
      plan,
      clips,
      current,
      x: hasSeconds(runs) ? this.cost : "evaluations",
      metric: metrics[this.metric] ? this.metric : Object.keys(metrics)[0],
    };
  }

  refresh() {
    const { runs, plan, planNote, problem, view } = this;
    const hasPoints = !problem && Boolean(runs?.points.length || plan.length);
    for (const part of [this.top, this.plot.element, this.details, this.saving]) part.hidden = !hasPoints;
    this.empty.hidden = hasPoints;
    setText(this.empty, problem || t("Nothing measured yet. Connect the runs of SCOPE Trade-off Sweep and run the workflow to see what each setting gains and costs."));
    const notes = [hasPoints ? meaning() : "", ...(runs?.notes ?? []), planNote, noteOfPlan(view)];
    setText(this.notes, notes.filter(Boolean).map(asSentence).join(" "));
    this.costs.show(hasSeconds(runs) ? costs() : [], view.x);
    this.metrics.show(Object.entries(runs?.metrics ?? {}).map(([name, { label }]) => ({ name, label })), view.metric);
    this.plot.draw();
  }

  /** @param {Symbol|null} before Where the cursor was. */
  showPoint(before) {
    const { place } = this.plot.cursor;
    const hasStayed = place && before && isSamePoint(place.point, before.point);
    if (!hasStayed) this.message = "";
    this.showDetails();
    this.showActions();
  }

  showDetails() {
    const { place } = this.plot.cursor;
    const { title, lines } = place ? describePoint(place, this.view) : this.describeAll();
    setText(this.title, title);
    this.title.title = title;
    setText(this.text, this.message || lines.join("\n"));
  }

  describeAll() {
    const hint = t("Point at a setting, or use the arrow keys. Click or press Enter to apply it or to compare it, Escape to let go.");
    return { title: this.running.label ? progressOf(this.view, this.running) : titleOf(this.view), lines: [hint] };
  }

  /** The buttons stay the same while the same point is held, so that they keep the focus. */
  showActions() {
    const { place, isHeld } = this.plot.cursor;
    const held = isHeld ? place : null;
    if ((held?.point ?? null) === this.offered) return;
    this.offered = held?.point ?? null;
    const say = (/** @type {string} */ sentence) => {
      this.message = sentence;
      this.showDetails();
    };
    this.actions.replaceChildren(...(held ? actionsFor(held, this.runs, this.callbacks, say) : []));
  }

  picture() {
    return drawTradeoff(this.view, { ...EXPORT_SIZE, theme: this.plot.theme, hasCaption: true }).svg;
  }
}

function costs() {
  return [
    { name: "seconds", label: t("Seconds") },
    { name: "evaluations", label: t("Evaluations") },
  ];
}
