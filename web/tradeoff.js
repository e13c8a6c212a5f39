/**
 * The trade-off widget: speed against fidelity of all measured settings, and what can be done with each.
 *
 * @typedef {import("./pareto.js").Point} Point
 * @typedef {import("./pareto.js").Runs} Runs
 * @typedef {import("./pareto.js").View} View
 */

import { MEANING } from "./axes.js";
import { themeOf } from "./draw_trace.js";
import { drawCursor, drawTradeoff } from "./draw_tradeoff.js";
import { LookObserver, button, create, downloadJson, downloadPng, downloadSvg, selectBox, setText } from "./elements.js";
import {
  baselineOf,
  describePoint,
  hasSeconds,
  isPoint,
  isPointEvent,
  isSamePoint,
  neighbour,
  noteOfPlan,
  obstaclesOf,
  parseRuns,
  symbolNear,
  titleOf,
  withPoint,
} from "./pareto.js";
import { PayloadError } from "./payload.js";

const EMPTY_TEXT = "Nothing measured yet. Connect the runs of SCOPE Sweep and run the workflow to see what each setting gains and costs.";
const HINT = "Point at a setting, or use the arrow keys. Click or press Enter to apply it or to compare it, Escape to let go.";
const AXIS_LABELS = { seconds: "Seconds", evaluations: "Evaluations" };
const EXPORT_SIZE = { width: 960, height: 600 };

export class TradeoffChart {
  /** @type {Runs|null} */
  runs = null;
  /** @type {Point[]} */
  plan = [];
  /** @type {Point|null} */
  current = null;
  planNote = "";
  problem = "";
  axis = "evaluations";
  metric = "";
  layout = null;
  symbol = null;
  pinned = false;
  message = "";
  offered = null;

  /**
   * @param {object} callbacks
   * @param {(point: Point, samplerId: string) => string} callbacks.apply Says what happened.
   * @param {() => {id: string, title: string}[]} callbacks.samplers
   * @param {(baseline: Point, point: Point, runs: Runs) => void} callbacks.openCompare
   * @param {(file: object) => string} callbacks.viewUrl
   */
  constructor(callbacks) {
    this.callbacks = callbacks;
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

  /** @param {unknown} runs */
  show(runs) {
    this.read(() => parseRuns(runs));
  }

  /** @param {{run: object, point: Point}} event A point that has just been measured; anything else is left alone. */
  add(event) {
    if (isPointEvent(event)) this.read(() => withPoint(this.runs, event));
  }

  /**
   * @param {unknown} points Settings that will be measured; null where nothing is known.
   * @param {string} [note]
   */
  showPlan(points, note = "") {
    this.plan = Array.isArray(points) ? points.filter(isPoint) : [];
    this.planNote = note;
    this.refresh();
  }

  /** @param {Point|null} point Setting of the sampler. */
  showCurrent(point) {
    this.current = isPoint(point) ? point : null;
    this.refresh();
  }

  read(parse) {
    try {
      this.runs = parse();
      this.problem = "";
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      this.runs = null;
      this.problem = error.message;
    }
    this.refresh();
  }

  /** @returns {View} */
  get view() {
    const metric = this.runs?.metrics[this.metric] ? this.metric : Object.keys(this.runs?.metrics ?? {})[0];
    return { runs: this.runs, plan: this.plan, current: this.current, x: hasSeconds(this) ? this.axis : "evaluations", metric };
  }

  build() {
    this.axisSwitch = create("div", "scope-tradeoff-switch");
    this.metricSwitch = create("div", "scope-tradeoff-switch");
    labelled(this.axisSwitch, "group", "Cost");
    labelled(this.metricSwitch, "group", "Quality");
    this.saving = create("div", "scope-tradeoff-saving", [
      button("SVG", "Save the chart as SVG", () => downloadSvg(this.picture(), "scope_tradeoff.svg")),
      button("PNG", "Save the chart as PNG", () => downloadPng(this.picture(), "scope_tradeoff.png")),
      button("JSON", "Save the runs", () => downloadJson(this.runs ?? this.plan, "scope_runs.json")),
    ]);
    this.top = create("div", "scope-tradeoff-top", [this.axisSwitch, this.metricSwitch]);

    this.plot = create("div", "scope-tradeoff-plot");
    this.plot.tabIndex = 0;
    labelled(this.plot, "application", "Chart of speed against fidelity. Move between the settings with the arrow keys.");

    this.title = create("span", "scope-tradeoff-title");
    this.actions = create("div", "scope-tradeoff-actions");
    this.text = create("div", "scope-tradeoff-text");
    this.details = create("div", "scope-tradeoff-details", [create("div", "scope-tradeoff-head", [this.title, this.actions]), this.text]);
    this.text.setAttribute("role", "status");
    this.notes = create("div", "scope-tradeoff-notes");
    this.foot = create("div", "scope-tradeoff-foot", [this.notes, this.saving]);
    this.empty = create("div", "scope-panel-empty");

    const body = create("div", "scope-panel-body", [this.top, this.plot, this.details, this.empty, this.foot]);
    this.element = create("div", "scope-panel scope-tradeoff", [body]);
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => {
      if (!this.pinned) this.select(this.symbolAt(event));
    });
    this.plot.addEventListener("pointerleave", () => {
      if (!this.pinned && document.activeElement !== this.plot) this.select(null);
    });
    this.plot.addEventListener("click", (event) => this.pin(this.symbolAt(event)));
    this.plot.addEventListener("focus", () => {
      if (!this.symbol && this.layout && this.plot.matches(":focus-visible")) this.select(neighbour(this.layout.symbols, null, "Home"));
    });
    this.plot.addEventListener("blur", () => {
      if (!this.pinned) this.select(null);
    });
    this.plot.addEventListener("keydown", (event) => {
      if (!this.handleKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  handleKey({ key, ctrlKey, metaKey, altKey }) {
    if (!this.layout || ctrlKey || metaKey || altKey) return false;
    const next = neighbour(this.layout.symbols, this.symbol, key);
    if (next) this.select(next);
    else if ((key === "Enter" || key === " ") && this.symbol) this.pin(this.symbol);
    else if (key === "Escape" && this.symbol) this.release();
    else return false;
    return true;
  }

  symbolAt(event) {
    if (!this.layout) return null;
    const box = this.plot.getBoundingClientRect();
    const scale = this.plot.clientWidth / box.width;
    return symbolNear(this.layout.symbols, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  }

  /** Hold a setting and offer what can be done with it, or let go of the one that is held. */
  pin(symbol) {
    this.pinned = Boolean(symbol) && !(this.pinned && symbol === this.symbol);
    this.select(symbol);
  }

  release() {
    this.pinned = false;
    this.select(null);
  }

  select(symbol) {
    const stays = symbol && this.symbol && isSamePoint(symbol.point, this.symbol.point);
    if (!stays) this.message = "";
    this.symbol = symbol;
    this.showDetails();
    this.showActions();
    this.drawCursor();
  }

  refresh() {
    const { runs, plan, problem } = this;
    const hasPoints = !problem && Boolean(runs?.points.length || plan.length);
    for (const part of [this.top, this.plot, this.details, this.saving]) part.hidden = !hasPoints;
    this.empty.hidden = hasPoints;
    setText(this.empty, problem || EMPTY_TEXT);
    setText(this.notes, [hasPoints && MEANING, ...(runs?.notes ?? []), this.planNote, noteOfPlan(this.view)].filter(Boolean).join(" "));
    this.showSwitches();
    this.draw();
  }

  showSwitches() {
    const { x, metric } = this.view;
    const axes = hasSeconds(this) ? Object.entries(AXIS_LABELS) : [];
    const metrics = Object.entries(this.runs?.metrics ?? {}).map(([name, { label }]) => [name, label]);
    fillSwitch(this.axisSwitch, axes, x, (name) => this.choose({ axis: name }));
    fillSwitch(this.metricSwitch, metrics, metric, (name) => this.choose({ metric: name }));
  }

  choose(choice) {
    Object.assign(this, choice);
    this.refresh();
  }

  showDetails() {
    const { title, lines } = this.symbol ? describePoint(this.symbol, this.view) : { title: titleOf(this.view), lines: [HINT] };
    setText(this.title, title);
    this.title.title = title;
    setText(this.text, this.message || lines.join("\n"));
  }

  /** The buttons stay the same while the same point is held, so that they keep the focus. */
  showActions() {
    const point = this.pinned ? this.symbol.point : null;
    if (point === this.offered) return;
    this.offered = point;
    this.actions.replaceChildren(...(point ? this.actionsFor(this.symbol) : []));
  }

  /** @param {import("./pareto.js").Mark} mark */
  actionsFor(mark) {
    const { point } = mark;
    const baseline = baselineOf(this.runs?.points ?? []);
    const samplers = this.callbacks.samplers();
    const obstacles = obstaclesOf(mark, { baseline, samplers });
    let samplerId = samplers[0]?.id;
    const actions = [
      this.action("Apply to sampler", obstacles.apply, () => this.say(this.callbacks.apply(point, samplerId))),
      this.action("Open A/B", obstacles.compare, () => this.callbacks.openCompare(baseline, point, this.runs)),
    ];
    if (samplers.length > 1 && !obstacles.apply) {
      actions.unshift(selectBox("Sampler to apply the setting to", samplers.map(({ id, title }) => [id, title]), (id) => (samplerId = id)));
    }
    if (point.clip) actions.push(this.action("Clip", "", () => window.open(this.callbacks.viewUrl(point.clip))));
    return actions;
  }

  /** A button that says why it does nothing where there is an obstacle; unlike a disabled one, the keyboard reaches it. */
  action(label, obstacle, act) {
    const element = button(label, obstacle, () => (obstacle ? this.say(obstacle) : act()));
    element.setAttribute("aria-disabled", String(Boolean(obstacle)));
    return element;
  }

  say(sentence) {
    this.message = sentence;
    this.showDetails();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width || !height) return;
    this.theme = themeOf(this.element);
    const { svg, layout } = drawTradeoff(this.view, { width, height, theme: this.theme });
    svg.setAttribute("aria-hidden", "true");
    this.svg = svg;
    this.layout = layout;
    this.plot.replaceChildren(svg);
    const before = this.symbol?.point;
    const symbol = before && layout.symbols.find(({ point }) => isSamePoint(point, before));
    this.pinned &&= Boolean(symbol);
    this.select(symbol ?? null);
  }

  drawCursor() {
    this.cursor?.remove();
    this.cursor = this.symbol && drawCursor(this.svg, this.symbol, this.layout, this.theme, this.pinned);
  }

  picture() {
    return drawTradeoff(this.view, { ...EXPORT_SIZE, theme: this.theme, caption: true }).svg;
  }
}

function labelled(element, role, label) {
  element.setAttribute("role", role);
  element.setAttribute("aria-label", label);
}

/** One of several choices, as buttons next to each other. */
function fillSwitch(element, choices, chosen, choose) {
  const labels = choices.map(([, label]) => label).join();
  if (element.dataset.labels !== labels) {
    element.dataset.labels = labels;
    element.replaceChildren(...choices.map(([name, label]) => choiceButton(name, label, choose)));
  }
  for (const choice of element.children) choice.setAttribute("aria-pressed", String(choice.dataset.name === chosen));
}

function choiceButton(name, label, choose) {
  const element = button(label, "", () => choose(name));
  element.dataset.name = name;
  return element;
}
