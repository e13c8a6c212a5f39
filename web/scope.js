import {
  addElement, loadStyleSheet, nodeByExecutionId, nodesOfClass, onGraphChange, onServerMessage, onWidgetMove, post, promptOf, readersOf,
  registerNodes, setWidgets, viewUrl, watchWidgets,
} from "./comfy_adapter.js";
import { Compare } from "./compare.js";
import { Latest } from "./latest.js";
import { Note } from "./note.js";
import { PlanStrip } from "./plan_strip.js";
import { settleNode } from "./presets.js";
import { QualityCurve } from "./quality.js";
import { Report } from "./report.js";
import { Timeline } from "./timeline.js";
import { createChart } from "./tradeoff_actions.js";

const CALIBRATE_TEXT = "Run once for each model, number of steps, shift, guidance and schedule. What was found is told here, and kept for later runs.";

/** What the nodes show of Python's output: `output` is its key. */
const DISPLAYS = {
  SCOPE_Timeline: { create: () => new Timeline(), output: "scope_trace", minHeight: 250, size: [520, 360] },
  SCOPE_TradeoffChart: { create: createChart, output: "scope_runs", minHeight: 330, size: [560, 500] },
  SCOPE_Compare: { create: () => new Compare({ viewUrl }), output: "scope_compare", minHeight: 330, size: [480, 560] },
  SCOPE_Quality: { create: () => new QualityCurve(), output: "scope_quality", minHeight: 340, size: [520, 540] },
  SCOPE_Calibrate: { create: () => new Note(CALIBRATE_TEXT), output: "text", minHeight: 180, size: [330, 0] },
  SCOPE_SaveReport: { create: () => new Report({ viewUrl }), output: "scope_report", minHeight: 150, size: [420, 360] },
};
const SCHEDULES = ["SCOPE_ARSchedule", "SCOPE_MagiSchedule"];
const WITH_PLAN = ["SCOPE_Sampler", ...SCHEDULES];
const WITH_PRESETS = ["SCOPE_Sampler", "SCOPE_Settings"];

/** @type {WeakMap<object, any>} */
const displays = new WeakMap();
/** @type {WeakMap<object, Latest>} */
const plans = new WeakMap();
/** The nodes that a plan was made from. */
const sources = new WeakMap();

loadStyleSheet(new URL("./scope.css", import.meta.url).href);

registerNodes({
  name: "SCOPE.Displays",
  nodeClasses: Object.keys(DISPLAYS),
  created(node) {
    const { create, minHeight, size } = DISPLAYS[node.comfyClass];
    const display = create(node);
    displays.set(node, display);
    if (display.showPlan) plans.set(node, new Latest(() => plan(node), ({ points, note, error }) => display.showPlan(points ?? null, error ?? note)));
    attach(node, display, { name: "scope_display", minHeight, size });
  },
  output(node, message) {
    const [payload] = message[DISPLAYS[node.comfyClass].output] ?? [];
    if (payload) displays.get(node).show(payload);
  },
});

onServerMessage("scope.step", (event) => {
  const source = nodeByExecutionId(event.node);
  if (!source) return;
  for (const node of [source, ...readersOf(source)]) displays.get(node)?.follow?.(event);
});

onServerMessage("scope.point", (event) => {
  const sweep = nodeByExecutionId(event.node);
  for (const node of sweep ? readersOf(sweep) : []) displays.get(node)?.add?.(event);
});

registerNodes({
  name: "SCOPE.Presets",
  nodeClasses: WITH_PRESETS,
  created: keepInStep,
  configured: keepInStep,
});

onWidgetMove((node, widget) => WITH_PRESETS.includes(node.comfyClass) && keepInStep(node, widget));

registerNodes({
  name: "SCOPE.Plan",
  nodeClasses: WITH_PLAN,
  created(node) {
    const strip = new PlanStrip();
    plans.set(node, new Latest(() => plan(node), (answer) => {
      strip.show(answer);
      if (answer.point && !answer.point.baseline) for (const chart of charts()) displays.get(chart).showCurrent(answer.point);
    }));
    attach(node, strip, { name: "scope_plan", minHeight: 132, size: [330, 0] });
  },
});

onWidgetMove(async (moved) => {
  await plans.get(moved)?.update(); // first the picture next to the slider
  replan((node) => node !== moved && sources.get(node)?.has(moved));
});
onGraphChange(() => replan());
onServerMessage("execution_success", () => replan());

function attach(node, display, { name, minHeight, size }) {
  const connect = () => {
    display.connect();
    if (node.graph) plans.get(node)?.update();
  };
  addElement(node, { name, element: display.element, minHeight, size, connect, disconnect: () => display.disconnect() });
}

function charts() {
  return nodesOfClass("SCOPE_TradeoffChart");
}

function keepInStep(node, moved) {
  watchWidgets(node);
  const changes = settleNode(node, moved);
  if (Object.keys(changes).length) setWidgets(node, changes);
}

function replan(concerns = () => true) {
  for (const node of [...WITH_PLAN.flatMap(nodesOfClass), ...charts()]) if (concerns(node)) plans.get(node).update();
}

/** The plan of a node; of the sweep before it for a chart. */
function plan(node) {
  const { node: own, nodes, prompt } = promptOf(node, SCHEDULES.includes(node.comfyClass) ? "SCOPE_Sampler" : "");
  sources.set(node, new Set(nodes));
  for (const source of nodes) if (source.comfyClass?.startsWith("SCOPE_")) watchWidgets(source);
  const asked = WITH_PLAN.includes(node.comfyClass) ? own : Object.keys(prompt).find((id) => prompt[id].class_type === "SCOPE_Sweep");
  return asked ? post("/scope/plan", { node: asked, prompt }) : { points: null };
}
