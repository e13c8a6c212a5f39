/**
 * What the pack adds to ComfyUI's page: elements on its nodes, plans under the sliders, presets in step with them, and defaults that
 * follow the schedule.
 *
 * @typedef {object} Drawn Follows the page while its node is in a graph.
 * @property {() => void} connect
 * @property {() => void} disconnect
 * @property {() => void} [zoom] The graph is seen at another zoom.
 *
 * @typedef {{element: HTMLElement, drawn?: Drawn}} Attached
 *
 * @typedef {object} Shows
 * @property {(payload: unknown) => void} show What Python put out.
 * @property {(event: unknown) => void} [follow] A step that was just made.
 * @property {(event: unknown) => void} [add] A setting that was just measured.
 * @property {(how: string) => void} [end] The run ended, before it was finished where `how` says so.
 * @property {(label: string, clip: number) => void} [progress] A setting of a sweep is being run.
 * @property {(plan: any) => void} [compareWith] What the next run is going to do.
 * @property {(points: unknown, note?: string, clips?: number) => void} [showPlan] Settings that will be measured, on so many clips.
 * @property {(point: unknown) => void} [showCurrent] Setting of the sampler.
 *
 * @typedef {Attached & Shows} Display
 * @typedef {{create: (node: any) => Display, output: string, minHeight: number, size: number[]}} DisplayKind
 */

import {
  addCommand, addElement, disableInputs, fitHeight, foldInputs, foldNewInputs, get, growSockets, keepOutput, keptOutput, loadStyleSheet,
  nodeByExecutionId, nodesOfClass, onGraphChange, onLanguageChange, onRendererChange, onRunEnd, onRunMessage, onWidgetMove, onZoom,
  ownNodes, post, promptOf, readLanguage, readersOf, registerNodes, replaceElement, setWidgets, sourceOf, translateChoices, viewUrl,
  watchWidgets,
} from "./comfy_adapter.js";
import { Calibration } from "./calibrate/calibration.js";
import { Compare } from "./compare/compare.js";
import { applyTo, targetsFor } from "./graph/apply.js";
import { ScheduleWatch, followNode } from "./graph/family_defaults.js";
import { restoreOrder, saveInOrder, showPresetFirst } from "./graph/preset_place.js";
import { lackingAims, settleNode } from "./graph/presets.js";
import { t } from "./lib/language.js";
import { Latest } from "./lib/latest.js";
import { QualityCurve } from "./quality/quality.js";
import { Report } from "./report/report.js";
import { UnfinishedRuns } from "./runs/unfinished.js";
import { PlanStrip } from "./timeline/plan_strip.js";
import { Timeline } from "./timeline/timeline.js";
import { createChart } from "./tradeoff/chart_actions.js";

/** @type {Record<string, DisplayKind>} What the nodes show of Python's output: `output` is its key. */
const DISPLAYS = {
  SCOPE_Timeline: { create: () => new Timeline(), output: "scope_trace", minHeight: 250, size: [520, 360] },
  SCOPE_TradeoffChart: { create: createChart, output: "scope_runs", minHeight: 330, size: [560, 500] },
  SCOPE_Compare: { create: () => new Compare({ viewUrl }), output: "scope_compare", minHeight: 330, size: [480, 560] },
  SCOPE_Quality: { create: () => new QualityCurve(), output: "scope_quality", minHeight: 340, size: [520, 540] },
  SCOPE_Calibrate: { create: createCalibration, output: "scope_calibration", minHeight: 210, size: [330, 0] },
  SCOPE_SaveReport: { create: () => new Report({ viewUrl }), output: "scope_report", minHeight: 150, size: [420, 360] },
};
const SCHEDULES = ["SCOPE_ARSchedule", "SCOPE_MagiSchedule", "SCOPE_HeliosSchedule"];
const STOCK_SAMPLERS = ["KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"];
const WITH_PLAN = ["SCOPE_Sampler", "SCOPE_Accelerate", "SCOPE_Settings", ...SCHEDULES];
/** @type {Record<string, string[]>} Whose runs a node is planned for, where they read its output. */
const READERS = { SCOPE_Settings: ["SCOPE_Sampler", "SCOPE_Sweep", "SCOPE_Accelerate"], ...Object.fromEntries(SCHEDULES.map((name) => [name, ["SCOPE_Sampler"]])) };
const WITH_PRESETS = ["SCOPE_Sampler", "SCOPE_Accelerate", "SCOPE_Settings"];
const WITH_DEFAULTS = ["SCOPE_Sampler", "SCOPE_Sweep", "SCOPE_Calibrate"];

/** @type {WeakMap<object, Display>} */
const displays = new WeakMap();
/** @type {WeakMap<object, PlanStrip>} */
const strips = new WeakMap();
/** @type {WeakMap<object, Latest<any>>} */
const plans = new WeakMap();
/** @type {WeakMap<object, () => void>} What makes a node's element anew, in another language. */
const renewals = new WeakMap();
/** @type {WeakMap<object, unknown>} What Python put out last for a display. */
const payloads = new WeakMap();
/** @type {WeakMap<object, Set<object>>} The nodes that a plan was made from. */
const sources = new WeakMap();

const styleSheet = loadStyleSheet(new URL("./scope.css", import.meta.url).href);
await Promise.all([styleSheet, readLanguage()]); // before anything is measured, or takes its colours from the page

registerNodes({ name: "SCOPE.Choices", created: translateChoices, configured: translateChoices });
onWidgetMove(translateChoices);
onLanguageChange(async (language) => {
  await readLanguage(language);
  for (const node of ownNodes()) {
    translateChoices(node);
    foldInputs(node);
    renewals.get(node)?.();
  }
});

registerNodes({
  name: "SCOPE.Inputs",
  created: foldNewInputs,
  configured: foldInputs,
  linked: foldInputs,
});
onWidgetMove(foldInputs);
onRendererChange(() => ownNodes().forEach(foldInputs));

registerNodes({
  name: "SCOPE.PresetPlace",
  nodeClasses: ["SCOPE_Settings"],
  created: showPresetFirst,
  configuring: restoreOrder,
  configured: showPresetFirst,
  serialized: saveInOrder,
});
onWidgetMove((node) => node.comfyClass === "SCOPE_Settings" && showPresetFirst(node));

/** @param {any} sweep */
const growSweep = async (sweep) => {
  await growSockets(sweep, "settings_", 1, 8);
  await growSockets(sweep, "positive_", 2, 8);
};
registerNodes({
  name: "SCOPE.Sockets",
  nodeClasses: ["SCOPE_Sweep"],
  created: (sweep) => growSweep(sweep).then(() => fitHeight(sweep)),
  configured: (sweep, saved) => growSweep(sweep).then(() => fitHeight(sweep, saved.size?.[1])),
  linked: growSweep,
});

registerNodes({
  name: "SCOPE.Displays",
  nodeClasses: Object.keys(DISPLAYS),
  created(node) {
    const { create, minHeight, size } = DISPLAYS[node.comfyClass];
    const make = () => {
      const display = create(node);
      displays.set(node, display);
      if (payloads.has(node)) display.show(payloads.get(node));
      if (display.showPlan) plans.set(node, new Latest(() => plan(node), ({ points, clips, note, error }) => display.showPlan?.(points, error ?? note, clips)));
      return display;
    };
    attach(node, make, "scope_display", minHeight, size);
  },
  output(node, message) {
    const [payload] = message[DISPLAYS[node.comfyClass].output] ?? [];
    if (!payload) return;
    show(node, payload);
    keepOutput(node, payload);
  },
  configured(node) {
    const payload = keptOutput(node);
    if (payload) show(node, payload);
  },
});

onZoom(() => {
  for (const node of ownNodes()) for (const shown of [displays.get(node), strips.get(node)]) shown?.drawn?.zoom?.();
});

onRunMessage("scope.step", (event) => {
  const source = nodeByExecutionId(event.node);
  if (!source) return followSweep(String(event.node));
  strips.get(source)?.follow(event);
  const timelines = source.comfyClass === "SCOPE_Accelerate" ? timelinesBehind(source) : readersOf(source);
  for (const node of [source, ...timelines]) displays.get(node)?.follow?.(event);
});

onRunMessage("scope.point", (event) => {
  const sweep = nodeByExecutionId(event.node);
  for (const node of sweep ? readersOf(sweep) : []) displays.get(node)?.add?.(event);
});

onRunEnd((how) => {
  for (const node of ownNodes()) {
    displays.get(node)?.end?.(how);
    strips.get(node)?.end();
  }
  if (!how) replan();
});

registerNodes({
  name: "SCOPE.Presets",
  nodeClasses: WITH_PRESETS,
  created: (node) => keepInStep(node),
  configured(node, saved) {
    change(node, lackingAims(node, saved));
    keepInStep(node);
  },
});

onWidgetMove((node, widget) => WITH_PRESETS.includes(node.comfyClass) && keepInStep(node, widget));

const schedules = new ScheduleWatch(
  (sampler) => sourceOf(sampler, "schedule"),
  (sampler, schedule) => {
    change(sampler, followNode(sampler, schedule.comfyClass));
    followModel(sampler);
  },
);

registerNodes({
  name: "SCOPE.Defaults",
  nodeClasses: [...WITH_DEFAULTS, ...SCHEDULES],
  created: (node) => schedules.note("created", node),
  configured: (node) => WITH_DEFAULTS.includes(node.comfyClass) && schedules.note("configured", node),
  linked: (node, input) => WITH_DEFAULTS.includes(node.comfyClass) && input === "schedule" && schedules.note("linked", node),
});

registerNodes({
  name: "SCOPE.Plan",
  nodeClasses: WITH_PLAN,
  created(node) {
    const make = () => {
      const strip = new PlanStrip();
      strips.set(node, strip);
      return strip;
    };
    plans.set(node, new Latest(() => plan(node), (answer) => {
      strips.get(node)?.show(answer);
      disableInputs(node, answer.idle ?? {});
      for (const reader of readersOf(node)) if (reader.comfyClass === "SCOPE_Timeline") displays.get(reader)?.compareWith?.(answer);
      if (answer.point && !answer.point.baseline) for (const chart of charts()) displays.get(chart)?.showCurrent?.(answer.point);
    }));
    attach(node, make, "scope_plan", 210, [330, 0]);
  },
});

onWidgetMove(async (moved) => {
  await plans.get(moved)?.update(); // first the picture next to the slider
  replan((node) => node !== moved && Boolean(sources.get(node)?.has(moved)));
});
onGraphChange(() => replan());

addCommand("SCOPE.UnfinishedRuns", "SCOPE: Unfinished runs", () => {
  new UnfinishedRuns({ list: () => get("/scope/runs"), remove: (name) => post("/scope/runs/remove", { name }) }).open();
});

/**
 * @param {any} node
 * @param {() => Attached} make
 * @param {string} name
 * @param {number} minHeight
 * @param {number[]} size Of the node, at least.
 */
function attach(node, make, name, minHeight, size) {
  let widget = make();
  const connect = () => {
    widget.drawn?.connect();
    if (node.graph) plans.get(node)?.update();
  };
  const disconnect = () => {
    widget.drawn?.disconnect();
    plans.get(node)?.stop();
  };
  addElement(node, { name, element: widget.element, minHeight, size, connect, disconnect });
  renewals.set(node, () => {
    disconnect();
    widget = make();
    replaceElement(node, name, widget.element);
    connect();
  });
}

/** @param {any} node @param {unknown} payload */
function show(node, payload) {
  payloads.set(node, payload);
  displays.get(node)?.show(payload);
}

/** A run of a sweep has an id such as "7.0.0.sample fast" or "7.0.0.clip 2 sample fast", behind that of the sweep. @param {string} id */
function followSweep(id) {
  const [, sweepId, clip = "1", label] = /^([^.]+)\.(?:.*\.)?(?:clip (\d+) )?sample (.+)$/.exec(id) ?? [];
  const sweep = sweepId && nodeByExecutionId(sweepId);
  for (const node of sweep ? readersOf(sweep) : []) displays.get(node)?.progress?.(label === "off" ? t("without SCOPE") : label, Number(clip));
}

/** @param {any} node */
function createCalibration(node) {
  return new Calibration({ targets: (found) => targetsFor(found, node), apply: applyTo });
}

function charts() {
  return nodesOfClass("SCOPE_TradeoffChart");
}

/** Where models of several families take the same schedule node, the model's file says which it is. @param {any} sampler */
async function followModel(sampler) {
  const { node, prompt } = promptOf(sampler);
  const { family } = await post("/scope/family", { node, prompt });
  change(sampler, followNode(sampler, family));
}

/** @param {any} node @param {string} [moved] The widget that was moved by hand. */
function keepInStep(node, moved) {
  watchWidgets(node);
  change(node, settleNode(node, moved));
}

/** @param {any} node @param {Record<string, any>} changes Of its widgets. */
function change(node, changes) {
  if (Object.keys(changes).length) setWidgets(node, changes);
}

/** @param {(node: object) => boolean} concerns */
function replan(concerns = () => true) {
  for (const node of [...WITH_PLAN.flatMap(nodesOfClass), ...charts()]) if (concerns(node)) plans.get(node)?.update();
}

/** Timelines that wait for what a MODEL of the node is sampled to. @param {any} node */
function timelinesBehind(node) {
  return nodesOfClass("SCOPE_Timeline").filter((timeline) => promptOf(timeline).nodes.includes(node));
}

/** The plan of a node; of the sweep before it for a chart. @param {any} node */
function plan(node) {
  const ends = node.comfyClass === "SCOPE_Accelerate" ? STOCK_SAMPLERS : [];
  const { node: own, nodes, prompt } = promptOf(node, READERS[node.comfyClass], ends);
  sources.set(node, new Set(nodes));
  for (const source of nodes) if (source.comfyClass?.startsWith("SCOPE_") || STOCK_SAMPLERS.includes(source.comfyClass)) watchWidgets(source);
  const asked = WITH_PLAN.includes(node.comfyClass) ? own : Object.keys(prompt).find((id) => prompt[id].class_type === "SCOPE_Sweep");
  return asked ? post("/scope/plan", { node: asked, prompt }) : { points: null };
}
