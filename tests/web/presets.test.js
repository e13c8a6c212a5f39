import { describe, expect, it } from "vitest";

import { settle, settleNode } from "../../web/graph/presets.js";

const PRESETS = {
  off: { threshold: 0, max_skip: 2 },
  balanced: { threshold: 1, max_skip: 2 },
  fast: { threshold: 1, max_skip: 4 },
};

describe("settle", () => {
  it("moves the widgets of a chosen preset", () => {
    expect(settle(PRESETS, { preset: "fast", threshold: 0.3, max_skip: 2, steps: 50 }, "preset")).toEqual({ threshold: 1, max_skip: 4 });
  });

  it("lets the preset win after loading", () => {
    expect(settle(PRESETS, { preset: "balanced", threshold: 0.3, max_skip: 2 })).toEqual({ threshold: 1 });
  });

  it("makes a moved slider custom", () => {
    expect(settle(PRESETS, { preset: "balanced", threshold: 1.05, max_skip: 2 }, "threshold")).toEqual({ preset: "custom" });
  });

  it.each([
    ["a slider that came back to its number", { preset: "balanced", threshold: 1, max_skip: 2 }, "threshold"],
    ["a widget that no preset names", { preset: "balanced", threshold: 1, max_skip: 2, steps: 30 }, "steps"],
    ["custom", { preset: "custom", threshold: 0.3, max_skip: 7 }, "threshold"],
    ["custom, chosen", { preset: "custom", threshold: 1, max_skip: 2 }, "preset"],
    ["a preset that is not known here", { preset: "newer", threshold: 0.3, max_skip: 7 }, "preset"],
  ])("leaves alone: %s", (_, values, moved) => {
    expect(settle(PRESETS, values, moved)).toEqual({});
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
