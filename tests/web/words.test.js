import { describe, expect, it } from "vitest";

import { marksOf } from "../../web/tradeoff/marks.js";
import { obstaclesOf } from "../../web/tradeoff/obstacles.js";
import { describePoint, titleOf } from "../../web/tradeoff/words.js";
import { baseline, point, view } from "./chart_points.js";

describe("words", () => {
  function describeLabel(label, state) {
    const mark = marksOf(state).find(({ point: { label: other } }) => other === label);
    const { title, lines } = describePoint(mark, state);
    return [title, ...lines].join("\n");
  }

  it("keep evaluations and seconds apart, and name mean and worst frame", () => {
    const text = describeLabel("fast", view([baseline(), point("fast", 10, 2.5, 40)]));
    expect(text).toContain("fast (scope)");
    expect(text).toContain("10 of 50 evaluations, 5.00x fewer. Measured once: 2.5 s, 4.0x faster.");
    expect(text).toContain("PSNR 40.0 dB (worst frame 37.0), Latent error 0.025.");
    expect(text).toContain("No other setting beats it.");
    expect(text).toContain("Cache below 0.01, predict below 0.5, decay 0.75, at most 10 skipped in a row, tail 1.");
  });

  it.each([
    [{ at_least: 2.5, fidelity: 0, expected: null }, "At least 2.5x fewer wanted."],
    [{ at_least: 2.5, fidelity: 40, expected: 45.06 }, "At least 40 dB wanted, about 45.1 dB promised by its plan."],
    [{ at_least: 2.5, fidelity: 40, expected: 45.06, correct: false }, "At least 40 dB wanted."],
  ])("tell what planned steps were asked for: %o", (wish, words) => {
    const settings = { method: "planned", ...wish, computed: [], period: 0, lag: 0, last: 0, max_skip: 50, warm_up: 0, tail: 0 };
    const text = describeLabel("balanced", view([baseline(), point("balanced", 20, 4, 40, { method: "planned", settings })]));
    expect(text).toContain(words);
    expect(text).not.toMatch(/lag|last|skipped in a row/);
  });

  it("round no count", () => {
    const text = describeLabel("fast", view([point("fast", 1537, 2.5, 40, { iterations: 1920 })]));
    expect(text).toContain("1537 of 1920 evaluations");
  });

  it("compare with nothing where there is no baseline", () => {
    expect(describeLabel("fast", view([point("fast", 10, 2.5, 40)]))).toContain("10 of 50 evaluations. Measured once: 2.5 s.");
  });

  it("say slower for what is slower", () => {
    const text = describeLabel("slow", view([baseline(), point("slow", 50, 12.5, 60)]));
    expect(text).toMatch(/1\.3x slower.*\n.*\nBeaten by the run without SCOPE\./);
  });

  it("describe the baseline, identical and planned points as what they are", () => {
    const state = view([baseline(), point("same", 40, 8, null, { identical: true })], { plan: [point("next", 7)] });
    expect(describeLabel("off", state)).toContain("The others are compared with this run.\nEvery step computed.");
    expect(describeLabel("same", state)).toContain("Identical to the unaccelerated run.");
    expect(describeLabel("next", state)).toContain("7 of 50 evaluations, 7.14x fewer. Not measured yet.");
  });

  it("name the numbers of other methods", () => {
    const settings = { method: "teacache", threshold: 0.2, model: "none", signal: "modulation", aggregate: "max", max_skip: 5, selective: "auto" };
    const tea = point("tea", 20, 4, 45, { method: "teacache", settings });
    expect(describeLabel("tea", view([tea]))).toContain("Threshold 0.2, signal modulation, at most 5 skipped in a row.");
    expect(describeLabel("teacache 0.2", view([{ ...tea, label: "teacache 0.2" }]))).toMatch(/^teacache 0\.2\n/);
    expect(describeLabel("x", view([point("x", 20, 4, 45, { method: "steps" })]))).toMatch(/No other setting beats it\. ?$/);
  });

  it("count the blocks that ran at steps not computed whole", () => {
    const delta = point("delta_dit 2", 25, 8, 30, { method: "delta_dit", forwards: 75 });
    const state = view([baseline({ forwards: 100 }), delta, point("balanced", 18, 4, 45, { forwards: 36 })], { x: "evaluations" });
    expect(marksOf(state).map(({ point: { label }, x }) => [label, x])).toContainEqual(["delta_dit 2", 37.5]);
    expect(describeLabel("delta_dit 2", state)).toContain("25 of 50 evaluations, with the blocks run in between as many as 37.5, 1.33x fewer.");
    expect(describeLabel("balanced", state)).toContain("18 of 50 evaluations, 2.78x fewer.");
  });

  it("count what the chart shows", () => {
    expect(titleOf(view([baseline()]))).toBe("demo: 1 setting measured");
    expect(titleOf(view(null, { plan: [point("a", 9), point("b", 8)] }))).toBe("2 settings planned");
  });
});

describe("obstaclesOf", () => {
  const fast = { kind: "front", point: point("fast", 10, 2, 40) };
  const around = { baseline: baseline(), targets: [{ id: "1", title: "SCOPE Sampler" }] };

  it("has none for a measured point of the sampler", () => {
    expect(obstaclesOf(fast, around)).toEqual({ apply: "", compare: "" });
  });

  it("says why a point cannot be applied", () => {
    expect(obstaclesOf({ ...fast, point: { ...fast.point, widgets: null } }, { ...around, targets: [] }).apply).toContain("no sliders");
    expect(obstaclesOf(fast, { ...around, targets: [] }).apply).toContain("no SCOPE Sampler");
  });

  it("says why a point cannot be compared", () => {
    expect(obstaclesOf({ kind: "baseline", point: baseline() }, around).compare).toContain("compared with");
    expect(obstaclesOf({ kind: "planned", point: point("next", 7) }, around).compare).toContain("Not measured");
    expect(obstaclesOf(fast, { ...around, baseline: null }).compare).toContain("no unaccelerated run");
    expect(obstaclesOf({ ...fast, point: { ...fast.point, clip: null } }, around).compare).toContain("VAE");
  });
});
