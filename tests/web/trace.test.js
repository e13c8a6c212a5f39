import { describe, expect, it } from "vitest";

import { PayloadError } from "../../web/lib/payload.js";
import { describeCell } from "../../web/timeline/cell_words.js";
import { LOOK, cellAt, gridOf, intervalsOf } from "../../web/timeline/grid.js";
import { headlineOf } from "../../web/timeline/headline.js";
import { applyStep, isStepEvent } from "../../web/timeline/live_trace.js";
import { parseTrace, ruleSentence } from "../../web/timeline/trace.js";
import { staircase, step, trace } from "./traces.js";

describe("parseTrace", () => {
  it("reads an object and its JSON text", () => {
    expect(parseTrace(trace()).segments).toHaveLength(1);
    expect(parseTrace(JSON.stringify(trace())).segments).toHaveLength(1);
  });

  it.each([undefined, null, {}, "[]", "no JSON", { format: "scope.trace", version: 1 }])("refuses %j", (payload) => {
    expect(() => parseTrace(payload)).toThrow(PayloadError);
  });

  it("says what to do about a newer format", () => {
    expect(() => parseTrace(trace({ version: 4 }))).toThrow("Update SCOPE");
  });
});

describe("ruleSentence", () => {
  it("is what Python said, for any letter", () => {
    expect(ruleSentence(trace({ rules: { q: "a rule of tomorrow" } }), "q")).toBe("a rule of tomorrow");
    expect(ruleSentence(trace({ rules: undefined }), "w")).toBe('rule "w"');
  });
});

describe("isStepEvent", () => {
  const { steps, ...header } = staircase();

  it("knows what Python sends", () => {
    expect(isStepEvent({ node: "1", segment: header, index: 0, step: steps[0] })).toBe(true);
    expect(isStepEvent({ node: "1", segment: 3, index: 0, step: steps[0] })).toBe(true);
  });

  it.each([
    {},
    { segment: 4, index: 0, step: {} },
    { segment: 4, step: steps[0] },
    { segment: null, index: 0, step: steps[0] },
    { segment: { units: [], sigmas: [] }, index: 0, step: steps[0] },
  ])("leaves %j alone", (event) => expect(isStepEvent(event)).toBe(false));
});

describe("applyStep", () => {
  const { steps, ...header } = staircase();

  it("builds a trace from live events", () => {
    let live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0], rules: { w: "warm" } });
    live = applyStep(live, { node: "1", segment: 0, index: 1, step: steps[1] });
    live = applyStep(live, { node: "1", segment: 0, index: 2, step: steps[2] });
    expect(live.rules.w).toBe("warm");
    expect(headlineOf(live)).toMatchObject({
      evaluations: "2 of 3 evaluations, 1.50x fewer so far",
      time: "1.0 s",
      note: "",
    });
    const grid = gridOf(live);
    expect(grid.columns).toBe(4);
    expect(cellAt(grid, 3, 0).look).toBe(LOOK.empty);
    expect(describeCell(grid, cellAt(grid, 3, 0))[1]).toBe("Not run yet.");
  });

  it("puts a step where it belongs though others before it were lost", () => {
    let live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0], iterations: 8 });
    live = applyStep(live, { node: "1", segment: 0, index: 3, step: steps[3] });
    const grid = gridOf(live);
    expect([0, 1, 2, 3].map((column) => cellAt(grid, column, 1).look)).toEqual([LOOK.context, LOOK.empty, LOOK.empty, LOOK.recompute]);
    expect(intervalsOf(live.segments[0]).map(({ from, to }) => [from, to])).toEqual([[0, 1], [3, 4]]);
    live = applyStep(live, { node: "1", segment: 0, index: 4, step: steps[3] });
    expect(headlineOf(live)).toMatchObject({ evaluations: "3 of 3 evaluations so far", time: "1.5 s, about 5 s left" });
  });

  it("explains a cell by the sentences that came with the header", () => {
    const live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0], rules: { w: "warming up" } });
    const grid = gridOf(live);
    expect(describeCell(grid, cellAt(grid, 0, 0))[1]).toBe("Recomputed: warming up.");
  });

  it("adds later segments", () => {
    let live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0] });
    live = applyStep(live, { node: "1", segment: { ...header, index: 1 }, index: 0, step: steps[0] });
    live = applyStep(live, { node: "1", segment: 1, index: 1, step: steps[1] });
    expect(live.segments.map((segment) => segment.steps.length)).toEqual([1, 2]);
  });

  it("starts afresh with segment 0", () => {
    const live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0] });
    expect(applyStep(live, { node: "1", segment: header, index: 0, step: steps[1] }).segments).toHaveLength(1);
    expect(applyStep(trace(), { node: "1", segment: header, index: 0, step: steps[1] }).segments[0].steps).toEqual([steps[1]]);
  });

  it("keeps what is shown when the header was missed", () => {
    const finished = trace();
    expect(applyStep(finished, { node: "1", segment: 0, index: 0, step: steps[0] })).toBe(finished);
    expect(finished.segments[0].steps).toHaveLength(4);
    expect(applyStep(null, { node: "1", segment: 2, index: 0, step: steps[0] })).toBeNull();
  });
});

describe("a trace that counts chunks", () => {
  /** Each chunk goes through the model on its own: the third column computes one and predicts the other. */
  const chunks = (overrides = {}) =>
    staircase({
      by_chunk: true,
      prefix: 0,
      units: [
        [0, 6],
        [6, 12],
      ],
      frames: 12,
      steps: [
        step("R.", "w.", "0009", [0, 6]),
        step("PR", "pw", "20030009", [0, 12]),
        step("RP", "tp", "31032003", [0, 12]),
        step(".C", ".c", "1003", [6, 12]),
      ],
      ...overrides,
    });
  const finished = trace({ version: 3, segments: [chunks()], totals: { iterations: 6, computed: 3, seconds: 1.5, skipped_reason: "" } });

  it("says so when it is finished", () => {
    expect(headlineOf(finished)).toMatchObject({ evaluations: "3 of 6 chunk evaluations, 2.00x fewer", time: "1.5 s", note: "" });
  });

  it("says so where nothing was skipped", () => {
    const totals = { iterations: 6, computed: 6, seconds: 1.5, skipped_reason: "SCOPE is off." };
    expect(headlineOf({ ...finished, totals })).toMatchObject({
      evaluations: "6 of 6 chunk evaluations",
      note: "Nothing was skipped. SCOPE is off.",
    });
  });

  it("counts chunks while it runs, and agrees with the totals at the end", () => {
    const { steps, ...header } = chunks();
    let live = applyStep(null, { node: "1", segment: header, index: 0, step: steps[0] });
    expect(headlineOf(live).evaluations).toBe("1 of 1 chunk evaluations so far");
    live = applyStep(live, { node: "1", segment: 0, index: 1, step: steps[1] });
    expect(headlineOf(live).evaluations).toBe("2 of 3 chunk evaluations, 1.50x fewer so far");
    live = applyStep(live, { node: "1", segment: 0, index: 2, step: steps[2] });
    live = applyStep(live, { node: "1", segment: 0, index: 3, step: steps[3] });
    expect(headlineOf(live).evaluations).toBe(`${headlineOf(finished).evaluations} so far`);
  });

  it("has no context: a chunk that takes no step is not forwarded", () => {
    expect([...gridOf(finished).looks]).toEqual([
      LOOK.recompute, LOOK.predict, LOOK.recompute, LOOK.done,
      LOOK.waiting, LOOK.recompute, LOOK.predict, LOOK.cache,
    ]);
  });

  it("is an ordinary one without the mark", () => {
    const { by_chunk, ...ordinary } = chunks();
    expect(by_chunk).toBe(true);
    expect(headlineOf(trace({ segments: [ordinary], totals: undefined })).evaluations).toBe("3 of 4 evaluations, 1.33x fewer so far");
  });
});
