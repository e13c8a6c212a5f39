// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { placesOf, promptOf, sourceOf } from "../../web/graph/graph_walk.js";
import { answerOf } from "../../web/lib/answer.js";
import { Latest } from "../../web/lib/latest.js";
import { PlanStrip, readPlan } from "../../web/timeline/plan_strip.js";
import { stubPage } from "./page_stubs.js";

const INPUTS = {
  SCOPE_Sampler: {
    required: { model: ["MODEL", {}], latent: ["LATENT", {}], steps: ["INT", {}] },
    optional: { schedule: ["SCHEDULE", {}], settings: ["SETTINGS", {}] },
  },
  SCOPE_ARSchedule: { required: { length: ["INT", {}] } },
  SCOPE_Settings: { required: { method: ["COMFY_DYNAMICCOMBO_V3", {}] } },
  SCOPE_Sweep: { required: { settings: ["COMFY_AUTOGROW_V3", {}] } },
};

/** A graph with litegraph's lookups. Nodes: {id, type, inputs: [[name, type, origin id, origin slot]], widgets: {name: value}, ...rest}. */
function graphOf(nodes) {
  const links = new Map();
  const graph = { links, getNodeById: (id) => graph.nodes.find((node) => node.id === id) };
  graph.nodes = nodes.map(({ inputs = [], widgets = {}, mode = 0, ...node }) => ({
    ...node,
    graph,
    mode,
    constructor: { nodeData: { input: INPUTS[node.type] ?? { required: {} } } },
    widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
    inputs: inputs.map(([name, type, origin_id, origin_slot], index) => {
      if (origin_id === undefined) return { name, type, link: null };
      const id = `${node.id}.${index}`;
      links.set(id, { origin_id, origin_slot, target_id: node.id, target_slot: index, originIsIoNode: origin_id === "in" });
      return { name, type, link: id };
    }),
    getInputLink(slot) {
      return links.get(this.inputs[slot]?.link);
    },
    getWidgetFromSlot({ name }) {
      return this.widgets.find((widget) => widget.name === name);
    },
  }));
  return graph;
}

/** A subgraph whose outputs come from these [id, slot]. */
function subgraphOf(nodes, outputs) {
  const links = outputs.map(([origin_id, origin_slot]) => ({ origin_id, origin_slot, originIsIoNode: origin_id === "in" }));
  const slots = links.map((link) => ({ getLinks: () => [link] }));
  return Object.assign(graphOf(nodes), { outputNode: { slots } });
}

function promptFrom(graph, id, readerClass) {
  const { node } = placesOf(graph).find((place) => [...place.path, place.node].map((one) => one.id).join(":") === id);
  return promptOf(graph, node, readerClass ? [readerClass] : []);
}

const MODEL = { id: 1, type: "Loader" };
const sampler = (id, inputs, widgets = { steps: 30 }) => ({ id, type: "SCOPE_Sampler", inputs, widgets });

describe("sourceOf", () => {
  const graph = graphOf([
    MODEL,
    { id: 2, type: "Reroute", isVirtualNode: true, inputs: [["", "*", 1, 0]] },
    { id: 3, type: "Reroute", isVirtualNode: true, inputs: [["", "*", 2, 0]] },
    { id: 4, type: "PrimitiveNode", isVirtualNode: true, widgets: { value: 12 } },
    sampler(5, [["model", "MODEL", 3, 0], ["latent", "LATENT"], ["steps", "INT", 4, 0]]),
  ]);
  const own = graph.getNodeById(5);

  it("finds the node behind reroutes", () => expect(sourceOf(graph, own, "model").id).toBe(1));

  it.each(["latent", "steps", "schedule"])("finds none where no node gives a value: %s", (name) => expect(sourceOf(graph, own, name)).toBeNull());

  it("finds none of a node that has left the graph", () => expect(sourceOf(graphOf([MODEL]), own, "model")).toBeNull());
});

describe("promptOf", () => {
  it("takes the node, what lies upstream, and only inputs that Python knows", () => {
    const graph = graphOf([
      MODEL,
      { id: 2, type: "SCOPE_ARSchedule", widgets: { length: 97 } },
      sampler(3, [["model", "MODEL", 1, 0], ["latent", "LATENT", 2, 1], ["steps", "INT"]], {
        steps: 30, control_after_generate: "fixed", scope_plan: "",
      }),
      { id: 4, type: "VAEDecode", inputs: [["samples", "LATENT", 3, 0]] },
    ]);
    const { node, prompt, nodes } = promptFrom(graph, "3");
    expect(node).toBe("3");
    expect(prompt).toEqual({
      1: { class_type: "Loader", inputs: {} },
      2: { class_type: "SCOPE_ARSchedule", inputs: { length: 97 } },
      3: { class_type: "SCOPE_Sampler", inputs: { steps: 30, model: ["1", 0], latent: ["2", 1] } },
    });
    expect(nodes.map(({ id }) => id).sort()).toEqual([1, 2, 3]);
  });

  it("finds samplers anywhere behind a node, each with what tells it its steps", () => {
    const graph = graphOf([
      MODEL,
      { id: 2, type: "SCOPE_Accelerate", inputs: [["model", "MODEL", 1, 0]], widgets: { preset: "fast" } },
      { id: 3, type: "CFGGuider", inputs: [["model", "MODEL", 2, 0]] },
      { id: 4, type: "BasicScheduler", inputs: [["model", "MODEL", 1, 0]], widgets: { steps: 24 } },
      { id: 5, type: "SamplerCustomAdvanced", inputs: [["guider", "GUIDER", 3, 0], ["sigmas", "SIGMAS", 4, 0]] },
      { id: 6, type: "KSampler", inputs: [["model", "MODEL", 1, 0]] },
      { id: 7, type: "KSampler", mode: 2, inputs: [["model", "MODEL", 2, 0]] },
    ]);
    const node = graph.getNodeById(2);
    const { prompt } = promptOf(graph, node, [], ["KSampler", "SamplerCustomAdvanced"]);
    expect(Object.keys(prompt)).toEqual(["1", "2", "3", "4", "5"]);
    expect(Object.keys(promptOf(graph, node, ["KSampler"]).prompt)).toEqual(["1", "2"]);
  });

  it("leaves out readers in a muted subgraph", () => {
    const reader = (mode) => {
      const subgraph = subgraphOf([sampler(7, [["model", "MODEL", "in", 0]])], [[7, 0]]);
      const outer = { id: 2, type: "uuid", isVirtualNode: true, mode, subgraph, inputs: [["model", "MODEL", 1, 0]] };
      return Object.keys(promptFrom(graphOf([MODEL, outer]), "1", "SCOPE_Sampler").prompt);
    };
    expect(reader(0)).toEqual(["1", "2:7"]);
    expect(reader(2)).toEqual(["1"]);
  });

  it("keeps the dotted names of DynamicCombo and Autogrow", () => {
    const graph = graphOf([
      { id: 1, type: "SCOPE_Settings", widgets: { method: "scope", "method.preset": "fast", "method.threshold": 1 } },
      { id: 2, type: "SCOPE_Sweep", inputs: [["settings.settings0", "SETTINGS", 1, 0], ["settings.settings1", "SETTINGS"]] },
    ]);
    expect(promptFrom(graph, "2").prompt).toEqual({
      1: { class_type: "SCOPE_Settings", inputs: { method: "scope", "method.preset": "fast", "method.threshold": 1 } },
      2: { class_type: "SCOPE_Sweep", inputs: { "settings.settings0": ["1", 0] } },
    });
  });

  it("goes through reroutes, takes a primitive's value and links other nodes' numbers", () => {
    const graph = graphOf([
      MODEL,
      { id: 2, type: "Reroute", isVirtualNode: true, inputs: [["", "*", 1, 0]] },
      { id: 3, type: "Reroute", isVirtualNode: true, inputs: [["", "*", 2, 0]] },
      { id: 4, type: "PrimitiveNode", isVirtualNode: true, widgets: { value: 12, control_after_generate: "fixed" } },
      sampler(5, [["model", "MODEL", 3, 0], ["steps", "INT", 4, 0]]),
      { id: 6, type: "PrimitiveInt" },
      sampler(7, [["steps", "INT", 6, 0]]),
    ]);
    expect(promptFrom(graph, "5").prompt[5].inputs).toEqual({ steps: 12, model: ["1", 0] });
    expect(promptFrom(graph, "7").prompt[7].inputs).toEqual({ steps: ["6", 0] });
  });

  it("passes bypassed nodes and drops muted ones", () => {
    const graph = graphOf([
      MODEL,
      { id: 2, type: "Lora", mode: 4, inputs: [["strength", "FLOAT"], ["model", "MODEL", 1, 0]] },
      { id: 3, type: "Lora", mode: 2, inputs: [["model", "MODEL", 1, 0]] },
      sampler(4, [["model", "MODEL", 2, 0]]),
      sampler(5, [["model", "MODEL", 3, 0], ["steps", "INT", 3, 1]]),
    ]);
    expect(Object.keys(promptFrom(graph, "4").prompt)).toEqual(["1", "4"]);
    expect(promptFrom(graph, "4").prompt[4].inputs.model).toEqual(["1", 0]);
    expect(promptFrom(graph, "5").prompt).toEqual({ 5: { class_type: "SCOPE_Sampler", inputs: { steps: 30 } } });
  });

  it("crosses the borders of subgraphs both ways, with execution ids", () => {
    const inner = [
      sampler(7, [["model", "MODEL", "in", 0], ["steps", "INT", "in", 1], ["latent", "LATENT", 8, 1], ["schedule", "SCHEDULE", 8, 0]]),
      { id: 8, type: "SCOPE_ARSchedule", widgets: { length: 61 } },
    ];
    const subgraph = subgraphOf(inner, [[7, 0], ["in", 0]]);
    const graph = graphOf([
      MODEL,
      { id: 2, type: "uuid", isVirtualNode: true, subgraph, inputs: [["model", "MODEL", 1, 0], ["steps", "INT"]], widgets: { steps: 44 } },
      sampler(3, [["latent", "LATENT", 2, 0], ["model", "MODEL", 2, 1]]),
    ]);
    const { prompt } = promptFrom(graph, "3");
    expect(prompt[3].inputs).toEqual({ steps: 30, latent: ["2:7", 0], model: ["1", 0] });
    expect(prompt["2:7"].inputs).toEqual({ model: ["1", 0], steps: 44, latent: ["2:8", 1], schedule: ["2:8", 0] });
    expect(promptFrom(graph, "2:7").node).toBe("2:7");
  });

  it("adds the samplers that read a schedule, with everything upstream of them", () => {
    const graph = graphOf([
      MODEL,
      { id: 2, type: "SCOPE_ARSchedule", widgets: { length: 97 } },
      { id: 3, type: "Reroute", isVirtualNode: true, inputs: [["", "*", 2, 0]] },
      sampler(4, [["model", "MODEL", 1, 0], ["schedule", "SCHEDULE", 3, 0]]),
      { ...sampler(5, [["schedule", "SCHEDULE", 2, 0]]), mode: 2 },
      { id: 6, type: "SCOPE_ARSchedule", widgets: { length: 61 }, inputs: [["start", "LATENT", 4, 0]] },
      sampler(7, [["schedule", "SCHEDULE", 6, 0]]),
    ]);
    const { node, prompt } = promptFrom(graph, "2", "SCOPE_Sampler");
    expect(node).toBe("2");
    expect(Object.keys(prompt)).toEqual(["1", "2", "4"]);
  });

  it("ends where nodes feed each other in a circle", () => {
    const graph = graphOf([sampler(1, [["latent", "LATENT", 2, 0]]), sampler(2, [["latent", "LATENT", 1, 0]])]);
    expect(Object.keys(promptFrom(graph, "1").prompt)).toEqual(["1", "2"]);
  });
});

const TRACE = {
  format: "scope.trace",
  version: 1,
  run: { planned: true, settings: {} },
  rules: { w: "warm-up: a chunk's first steps are computed", p: "the score is below the predict threshold" },
  segments: [
    {
      index: 0, start: 0, frames: 1, prefix: 0, tail: 0, ar_step: 0, units: [[0, 1]], sigmas: [0.9, 0.5, 0],
      steps: [
        { modes: "R", rules: "w", scores: [0], frames: [0, 1], seconds: 0 },
        { modes: "P", rules: "p", scores: [0.2], frames: [0, 0], seconds: 0 },
      ],
    },
  ],
  totals: { iterations: 2, computed: 1, seconds: 0, skipped_reason: "" },
};
const PLAN = { trace: TRACE, exact: true, note: "" };

describe("readPlan", () => {
  it("says what will be computed and how sure that is", () => {
    expect(readPlan(PLAN)).toMatchObject({ headline: "Plan: 1 of 2 evaluations, 2.00x fewer", badge: "exact", note: "" });
    const note = "98 frames became 101.";
    expect(readPlan({ ...PLAN, exact: false, note })).toMatchObject({ badge: "estimated", note });
  });

  it("says why nothing will be skipped", () => {
    const totals = { iterations: 2, computed: 2, seconds: 0, skipped_reason: "SCOPE is off." };
    expect(readPlan({ ...PLAN, trace: { ...TRACE, totals } })).toMatchObject({
      headline: "Plan: 2 of 2 evaluations", note: "Nothing is skipped. SCOPE is off.",
    });
  });

  it.each([
    [{ error: "window is 60 frames; use 57 or 61" }, "window is 60"],
    [{}, "not a SCOPE trace"],
    [{ trace: { ...TRACE, version: 99 } }, "Update SCOPE"],
  ])("puts a problem into words: %o", (plan, words) => {
    const { headline, note, grid } = readPlan(plan);
    expect(headline).toBe("No plan");
    expect(note).toContain(words);
    expect(grid).toBeNull();
  });
});

describe("answerOf", () => {
  const said = async (body, init) => readPlan(await answerOf(new Response(body, init))).note;

  it.each([400, 413, 500])("shows the server's sentence with status %i", async (status) => {
    expect(await said('{"error": "window is 60 frames; use 57 or 61"}', { status })).toBe("window is 60 frames; use 57 or 61");
  });

  it("gives a plan as it came", async () => {
    expect(await answerOf(new Response(JSON.stringify(PLAN)))).toEqual(PLAN);
  });

  it.each([
    ["500 Internal Server Error", { status: 500, statusText: "Internal Server Error" }, "500 Internal Server Error"],
    ["<html>", { status: 502 }, "502"],
    ['{"error": {"type": "x"}}', { status: 403, statusText: "Forbidden" }, "403 Forbidden"],
    ["", { status: 200 }, "200"],
  ])("says what came instead of an answer of ours: %s", async (body, init, words) => {
    expect(await said(body, init)).toBe(`ComfyUI answered with ${words} instead of a plan. Its log may say why.`);
  });
});

describe("PlanStrip", () => {
  const text = (strip, name) => strip.element.querySelector(`.scope-plan-${name}`).textContent;

  beforeEach(stubPage);

  it("shows the number, the badge and the note", () => {
    const strip = new PlanStrip();
    strip.show({ ...PLAN, exact: false, note: "No run of this model yet." });
    expect(text(strip, "headline")).toBe("Plan: 1 of 2 evaluations, 2.00x fewer");
    expect(text(strip, "badge")).toBe("estimated");
    expect(text(strip, "note")).toBe("No run of this model yet.");
    expect(strip.plot.element.hidden).toBe(false);
  });

  it("explains the cell under the cursor, and then shows the note again", () => {
    const strip = new PlanStrip();
    strip.show({ ...PLAN, note: "A note." });
    strip.plot.element.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    expect(text(strip, "cell")).toMatch(/^Predicted: the score is below the predict threshold\. Iteration 2 of 2, chunk 1 of 1/);
    expect(text(strip, "cell")).not.toMatch(/ms|\ds\./);
    strip.plot.element.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    expect(strip.cell.hidden).toBe(true);
    expect(text(strip, "note")).toBe("A note.");
  });

  it("replaces the picture by the reason when there is no plan, and comes back", () => {
    const strip = new PlanStrip();
    strip.show({ error: "steps is 1; use 2 or more" });
    expect(text(strip, "headline")).toBe("No plan");
    expect(strip.plot.element.hidden).toBe(true);
    expect(text(strip, "note")).toBe("steps is 1; use 2 or more");
    strip.show(PLAN);
    expect(strip.plot.element.hidden).toBe(false);
  });
});

describe("a PlanStrip during a run", () => {
  const { steps: [step], ...header } = TRACE.segments[0];

  beforeEach(stubPage);

  it("says how far it is, also after steps were lost, until it ends", () => {
    const strip = new PlanStrip();
    strip.show({ ...PLAN, note: "A note." });
    strip.follow({ node: "1", segment: header, index: 0, step, iterations: 9 });
    expect(strip.note.textContent).toBe("Running: iteration 1 of 9.");
    strip.follow({ node: "1", segment: 0, index: 4, step });
    expect(strip.note.textContent).toBe("Running: iteration 5 of 9.");
    strip.end();
    expect(strip.note.textContent).toBe("A note.");
  });

  it("claims nothing of a run whose beginning it missed", () => {
    const strip = new PlanStrip();
    strip.show({ ...PLAN, note: "A note." });
    strip.follow({ node: "1", segment: 0, index: 4, step });
    expect(strip.note.textContent).toBe("A note.");
  });
});

describe("Latest", () => {
  const settled = () => new Promise((resolve) => setTimeout(resolve));

  it("has one question under way and asks the latest one next", async () => {
    const asked = [];
    const shown = [];
    const latest = new Latest(() => new Promise((answer) => asked.push(answer)), (answer) => shown.push(answer));
    for (let i = 0; i < 5; i++) latest.update();
    await settled();
    expect(asked).toHaveLength(1);
    for (let i = 0; i < 5; i++) latest.update();
    await settled();
    expect(asked).toHaveLength(1);
    asked[0]("first");
    await settled();
    expect(asked).toHaveLength(2);
    asked[1]("latest");
    await settled();
    expect(asked).toHaveLength(2);
    expect(shown).toEqual(["first", "latest"]);
  });

  it("asks nothing more once it was stopped", async () => {
    const asked = [];
    const latest = new Latest(() => new Promise((answer) => asked.push(answer)), () => {});
    latest.update();
    await settled();
    latest.update();
    latest.stop();
    asked[0]("first");
    await settled();
    expect(asked).toHaveLength(1);
  });

  it("shows nothing that was asked before it was stopped, as of a workflow that is closed", async () => {
    const asked = [];
    const shown = [];
    const latest = new Latest(() => new Promise((answer) => asked.push(answer)), (answer) => shown.push(answer));
    latest.update();
    await settled();
    latest.stop();
    asked[0]("of before");
    await settled();
    latest.update();
    await settled();
    asked[1]("of now");
    await settled();
    expect(shown).toEqual(["of now"]);
  });

  it("goes on after a question that failed", async () => {
    const shown = [];
    const ask = vi.fn().mockRejectedValueOnce(new Error("not in the graph")).mockResolvedValue("answer");
    const latest = new Latest(ask, (answer) => shown.push(answer));
    await expect(latest.update()).rejects.toThrow();
    await latest.update();
    expect(shown).toEqual(["answer"]);
  });
});
