import { describe, expect, it } from "vitest";

import { lackingAims, settle, settleNode } from "../../web/graph/presets.js";

const PRESETS = {
  off: { threshold: 0, max_skip: 2 },
  balanced: { threshold: 1, max_skip: 2 },
  fast: { threshold: 1, max_skip: 4 },
};

const POINTS = { presets: PRESETS };
const WITH_DIAL = {
  presets: { off: { threshold: 0, speed: 0, fidelity: 0 }, fast: { threshold: 1, speed: 4, fidelity: 0 } },
  aims: ["speed", "fidelity"],
};

describe("settle", () => {
  it("moves the widgets of a chosen preset", () => {
    expect(settle(POINTS, { preset: "fast", threshold: 0.3, max_skip: 2, steps: 50 }, "preset")).toEqual({ threshold: 1, max_skip: 4 });
  });

  it("lets the preset win after loading", () => {
    expect(settle(POINTS, { preset: "balanced", threshold: 0.3, max_skip: 2 })).toEqual({ threshold: 1 });
  });

  it("makes a moved slider custom", () => {
    expect(settle(POINTS, { preset: "balanced", threshold: 1.05, max_skip: 2 }, "threshold")).toEqual({ preset: "custom" });
  });

  it.each([
    ["a slider that came back to its number", { preset: "balanced", threshold: 1, max_skip: 2 }, "threshold"],
    ["a widget that no preset names", { preset: "balanced", threshold: 1, max_skip: 2, steps: 30 }, "steps"],
    ["custom", { preset: "custom", threshold: 0.3, max_skip: 7 }, "threshold"],
    ["custom, chosen", { preset: "custom", threshold: 1, max_skip: 2 }, "preset"],
    ["a preset that is not known here", { preset: "newer", threshold: 0.3, max_skip: 7 }, "preset"],
  ])("leaves alone: %s", (_, values, moved) => {
    expect(settle(POINTS, values, moved)).toEqual({});
  });
});

describe("settle, where a dial overrules the sliders", () => {
  const settled = (values, moved) => settle(WITH_DIAL, { threshold: 1, speed: 0, fidelity: 0, steps: 50, ...values }, moved);

  it("moves the dial of a chosen preset", () => {
    expect(settled({ preset: "fast" }, "preset")).toEqual({ speed: 4 });
    expect(settled({ preset: "off", speed: 4 }, "preset")).toEqual({ threshold: 0, speed: 0 });
  });

  it.each([
    ["a slider, under a preset", { preset: "fast", speed: 4, threshold: 1.1 }, "threshold", { preset: "custom", speed: 0 }],
    ["a slider, under custom", { preset: "custom", speed: 3, threshold: 1.1 }, "threshold", { speed: 0 }],
    ["a slider, with a fidelity", { preset: "custom", fidelity: 40 }, "threshold", { fidelity: 0 }],
    ["the dial", { preset: "fast", speed: 3.5 }, "speed", { preset: "custom" }],
    ["the dial, to 0", { preset: "fast", speed: 0 }, "speed", { preset: "custom" }],
    ["the dial, with a fidelity", { preset: "custom", speed: 3.5, fidelity: 40 }, "speed", { fidelity: 0 }],
    ["a fidelity", { preset: "fast", speed: 4, fidelity: 40 }, "fidelity", { preset: "custom", speed: 0 }],
    ["a fidelity, to 0", { preset: "custom", speed: 4 }, "fidelity", {}],
    ["what is no setting of speed", { preset: "custom", speed: 4, steps: 30 }, "steps", {}],
  ])("lets what was moved count: %s", (_, values, moved, changes) => {
    expect(settled(values, moved)).toEqual(changes);
  });

  it("leaves a saved custom as it is", () => {
    expect(settled({ preset: "custom", speed: 3, threshold: 0.3 })).toEqual({});
  });
});

describe("settleNode", () => {
  const spec = [["off", "balanced", "fast", "custom"], { presets: PRESETS }];
  const node = (required, values) => ({
    constructor: { nodeData: { input: { required } } },
    widgets: Object.entries(values).map(([name, value]) => ({ name, value })),
  });
  const sampler = (values) => node({ preset: spec, steps: ["INT", {}] }, values);
  const methods = [{ key: "teacache", inputs: {} }, { key: "scope", inputs: { required: { preset: spec } } }];
  const settings = (values) => node({ method: ["COMFY_DYNAMICCOMBO_V3", { options: methods }] }, values);

  it("works on plain names", () => {
    expect(settleNode(sampler({ preset: "fast", threshold: 1, max_skip: 2 }), "preset")).toEqual({ max_skip: 4 });
  });

  it("works inside a DynamicCombo", () => {
    const values = { method: "scope", "method.preset": "fast", "method.threshold": 0.5, "method.max_skip": 4 };
    expect(settleNode(settings(values), "method.preset")).toEqual({ "method.threshold": 1 });
    expect(settleNode(settings(values), "method.threshold")).toEqual({ "method.preset": "custom" });
    expect(settleNode(settings(values))).toEqual({ "method.threshold": 1 });
    expect(settleNode(settings(values), "method")).toEqual({ "method.threshold": 1 });
  });

  it("leaves a method without presets alone", () => {
    expect(settleNode(settings({ method: "teacache", "method.threshold": 0.5 }), "method.threshold")).toEqual({});
  });
});

describe("lackingAims", () => {
  const input = { required: { preset: [["off", "fast", "custom"], WITH_DIAL] } };
  const node = {
    constructor: { nodeData: { input } },
    widgets: [{ name: "preset" }, { name: "threshold" }, { name: "speed" }, { name: "fidelity" }, { name: "plan", serialize: false }],
  };

  it("are 0 in a node that was saved before it had them", () => {
    expect(lackingAims(node, { widgets_values: ["custom", 1] })).toEqual({ speed: 0, fidelity: 0 });
  });

  it.each([[["custom", 1, 2.5, 0]], [undefined], [{ preset: "custom" }]])("are none where %o was saved", (values) => {
    expect(lackingAims(node, { widgets_values: values })).toEqual({});
  });
});
