import { describe, expect, it } from "vitest";

import {
  LOOK,
  TraceError,
  applyStep,
  cellAt,
  countLooks,
  decimal,
  describeCell,
  duration,
  frameRange,
  gridOf,
  grownGrid,
  headlineOf,
  intervalsOf,
  parseTrace,
  progressOf,
  segmentRange,
} from "../../web/trace.js";

const SIGMAS = [0.9, 0.6, 0.3, 0.0];

function step(modes, rules, scores, frames, seconds = 0.5) {
  return { modes, rules, scores, frames, seconds };
}

/** Two chunks of two frames and three steps each, the second one iteration later, behind one clean frame. */
function staircase(overrides = {}) {
  return {
    index: 0,
    start: 10,
    frames: 5,
    prefix: 1,
    tail: 0,
    ar_step: 1,
    units: [
      [1, 3],
      [3, 5],
    ],
    sigmas: SIGMAS,
    steps: [
      step("R.", "w.", "0009", [0, 5]),
      step("RC", "wc", "50031004", [0, 5]),
      step("PP", "pp", "20032503", [0, 0], 0.001),
      step(".R", ".z", "3103", [1, 5]),
    ],
    ...overrides,
  };
}

function trace(overrides = {}) {
  return {
    format: "scope.trace",
    version: 2,
    run: { settings: { tau_c: 0.1, tau_p: 0.3 } },
    rules: { w: "warm-up", z: "last step", p: "score below the predict threshold" },
    segments: [staircase()],
    totals: { iterations: 4, computed: 3, seconds: 1.501, skipped_reason: "" },
    ...overrides,
  };
}

describe("parseTrace", () => {
  it("reads an object and its JSON text", () => {
    expect(parseTrace(trace()).segments).toHaveLength(1);
    expect(parseTrace(JSON.stringify(trace())).segments).toHaveLength(1);
  });

  it.each([undefined, null, {}, "[]", "no JSON", { format: "scope.trace", version: 1 }])("refuses %j", (payload) => {
    expect(() => parseTrace(payload)).toThrow(TraceError);
  });

  it("says what to do about a newer format", () => {
    expect(() => parseTrace(trace({ version: 4 }))).toThrow("Update SCOPE");
  });
});

describe("progressOf", () => {
  it("goes from not started over every step to done", () => {
    const segment = staircase();
    expect([0, 1, 2, 3].map((row) => progressOf(segment, row, 0))).toEqual([1, 2, 3, 4]);
    expect([0, 1, 2, 3].map((row) => progressOf(segment, row, 1))).toEqual([0, 1, 2, 3]);
    expect(progressOf(segment, 9, 1)).toBe(4);
  });
});

describe("gridOf", () => {
  it("lays out iterations along x and chunks along y", () => {
    const grid = gridOf(trace());
    expect([grid.columns, grid.rows]).toEqual([4, 2]);
    expect([...grid.looks]).toEqual([
      LOOK.recompute, LOOK.recompute, LOOK.predict, LOOK.context,
      LOOK.context, LOOK.cache, LOOK.predict, LOOK.recompute,
    ]);
  });

  it("tells finished from not started where a chunk was not forwarded", () => {
    const steps = [step("R.", "w.", "0009", [0, 3]), step(".R", ".w", "0009", [3, 5])];
    const grid = gridOf(trace({ segments: [staircase({ ar_step: 3, steps: [steps[0], steps[0], steps[0], steps[1]] })] }));
    expect(grid.looks[grid.columns]).toBe(LOOK.waiting);
    expect(grid.looks[3]).toBe(LOOK.done);
  });

  it("counts a forwarded interval only where something was computed", () => {
    const skipped = step("P.", "p.", "2003", [0, 5]);
    const grid = gridOf(trace({ segments: [staircase({ steps: [skipped] })] }));
    expect(grid.looks[1]).toBe(LOOK.waiting);
  });

  it("puts segments one after the other and leaves the units empty that a segment lacks", () => {
    const short = staircase({ index: 1, units: [[1, 5]], steps: [step("R", "w", "0009", [0, 5])] });
    const grid = gridOf(trace({ segments: [staircase(), short] }));
    expect(grid.places.map(({ first, count }) => [first, count])).toEqual([[0, 4], [4, 1]]);
    expect(grid.looks[4]).toBe(LOOK.recompute);
    expect(grid.looks[grid.columns + 4]).toBe(LOOK.empty);
  });

  it("accepts a trace without steps", () => {
    expect(gridOf(trace({ segments: [] }))).toMatchObject({ columns: 0, rows: 0 });
  });

  it("grows with its trace and looks at new steps only", () => {
    const growing = trace({ segments: [{ ...staircase({ steps: [] }), planned: 4 }] });
    const { steps } = growing.segments[0];
    const grid = grownGrid(null, growing);
    steps.push(...staircase().steps.slice(0, 2));
    expect(grownGrid(grid, growing)).toBe(grid);
    steps.push(...staircase().steps.slice(2));
    expect([...grownGrid(grid, growing).looks]).toEqual([...gridOf(trace()).looks]);
  });

  it("is made anew for another trace, another segment, or more steps than were planned", () => {
    const growing = trace();
    const grid = gridOf(growing);
    expect(grownGrid(grid, trace())).not.toBe(grid);
    growing.segments[0].steps.push(staircase().steps[3]);
    expect(grownGrid(grid, growing)).toMatchObject({ columns: 5 });
    growing.segments.push(staircase());
    expect(grownGrid(grid, growing)).toMatchObject({ columns: 9 });
  });

  it("counts chunk steps by mode", () => {
    expect(countLooks(gridOf(trace()))).toEqual({ [LOOK.recompute]: 3, [LOOK.predict]: 2, [LOOK.cache]: 1 });
  });
});

describe("intervalsOf", () => {
  it("joins iterations that forward the same columns, and counts rows in chunks", () => {
    const widths = [3, 3, 5, 4];
    const steps = widths.map((to) => step("R.", "w.", "0009", [0, to]));
    expect(intervalsOf(staircase({ steps }))).toEqual([
      { from: 0, to: 2, rows: [0, 1] },
      { from: 2, to: 3, rows: [0, 2] },
      { from: 3, to: 4, rows: [0, 1.5] },
    ]);
  });

  it("is empty before the first step", () => {
    expect(intervalsOf(staircase({ steps: [] }))).toEqual([]);
  });
});

describe("cellAt", () => {
  const grid = gridOf(trace());

  it("finds the score by counting the advancing chunks", () => {
    expect(cellAt(grid, 1, 1)).toMatchObject({ mode: "C", rule: "c", progress: 1, sigma: 0.9, score: 0.01 });
    expect(cellAt(grid, 3, 1)).toMatchObject({ mode: "R", progress: 3, sigma: 0.3, score: 0.31 });
    expect(cellAt(grid, 0, 1)).toMatchObject({ mode: ".", progress: 0, score: null });
  });

  it("reads the scores of version 1, which were numbers", () => {
    const steps = [step("RC", "wc", [0.5, 0.000123], [0, 5])];
    expect(cellAt(gridOf(trace({ version: 1, segments: [staircase({ steps })] })), 0, 1).score).toBe(0.000123);
  });

  it("finds iterations of later segments", () => {
    const two = gridOf(trace({ segments: [staircase(), staircase({ index: 1, start: 14 })] }));
    expect(cellAt(two, 6, 0)).toMatchObject({ mode: "P", column: 6, place: { first: 4 } });
  });

  it.each([[-1, 0], [4, 0], [0, -1], [0, 2]])("has nothing at %i, %i", (column, unit) => {
    expect(cellAt(grid, column, unit)).toBeNull();
  });
});

describe("describeCell", () => {
  const grid = gridOf(trace());
  const describeAt = (column, unit, of = grid) => describeCell(of, cellAt(of, column, unit));

  it("says where, what, why, the score and the time", () => {
    expect(describeAt(2, 0)).toEqual([
      "Iteration 3 of 4 (1 ms), chunk 1 of 2 (latent frames 11–12).",
      "Predicted: score below the predict threshold.",
      "Step 3 of 3, sigma 0.3. Score 0.2 (cache below 0.1, predict below 0.3).",
    ]);
  });

  it("explains rules that the trace has no sentence for", () => {
    expect(describeAt(1, 1)[1]).toContain("Reused from the cache: the score is below the cache threshold.");
    const unknown = gridOf(trace({ segments: [staircase({ steps: [step("R.", "?.", "0009", [0, 5])] })] }));
    expect(describeAt(0, 0, unknown)[1]).toContain('Recomputed: rule "?".');
  });

  it("says when an idle chunk starts or finished, and whether it was forwarded", () => {
    expect(describeAt(0, 1).slice(1)).toEqual([
      "Not started; it begins at iteration 2. It went through the model as context and took no step.",
      "",
    ]);
    expect(describeAt(3, 0)[1]).toContain("Finished at iteration 3.");
  });

  it("names the segment where there are several", () => {
    const two = gridOf(trace({ segments: [staircase(), staircase({ index: 1, start: 14 })] }));
    expect(describeAt(4, 0, two)[0]).toMatch(/^Segment 2 of 2, iteration 5 of 8 \(500 ms\), chunk 1 of 2 \(latent frames 15–16\)/);
  });

  it("says nothing about the time of a planned run", () => {
    const planned = gridOf(trace({ segments: [staircase({ steps: [step("R.", "w.", "0009", [0, 5], 0)] })] }));
    expect(describeAt(0, 0, planned)[0]).toBe("Iteration 1 of 1, chunk 1 of 2 (latent frames 11–12).");
  });

  it("names the threshold of the method", () => {
    const settings = { method: "teacache", tau_c: 0.1, tau_p: 0.3, threshold: 0.25 };
    expect(describeAt(2, 0, gridOf(trace({ run: { settings } })))[2]).toContain("Score 0.2 (cache below 0.25).");
  });

  it.each([[{}], [{ settings: { method: "off", tau_c: 0.1 } }]])("leaves thresholds out that the method does not have: %j", (run) => {
    expect(describeAt(2, 0, gridOf(trace({ run })))[2]).toMatch(/Score 0\.2\.$/);
  });
});

describe("frame ranges", () => {
  it("count in latent frames of the whole video", () => {
    expect(frameRange(staircase(), 1)).toBe("13–14");
    expect(frameRange(staircase({ units: [[1, 2]] }), 0)).toBe("11");
    expect(segmentRange(staircase())).toBe("10–14");
  });
});

describe("headlineOf", () => {
  it("names a method other than SCOPE", () => {
    const evaluations = (method) => headlineOf(trace({ run: { method }, totals: { iterations: 50, computed: 25 } })).evaluations;
    expect(evaluations("teacache")).toBe("teacache: 25 of 50 evaluations, 2.00x fewer");
    expect(evaluations("scope")).toBe("25 of 50 evaluations, 2.00x fewer");
  });

  const totals = { iterations: 125, computed: 48, seconds: 3.2, skipped_reason: "" };
  const headline = (changes) => headlineOf(trace({ totals: { ...totals, ...changes } }));

  it("keeps evaluations and time apart", () => {
    expect(headline({ estimated_baseline_seconds: 8.1 })).toEqual({
      evaluations: "48 of 125 evaluations, 2.60x fewer",
      frames: "",
      time: "3.2 s, about 2.5x faster than computing every step",
      timing: expect.stringContaining("took 3.2 s. Computing every step would have taken about 8.1 s"),
      note: "",
    });
  });

  it("claims no speed-up without an estimate of the baseline", () => {
    expect(headline({})).toMatchObject({ time: "3.2 s", timing: "" });
  });

  it.each([[1.6, "about 2.0x slower than"], [3.3, "about as fast as"], [3.1, "about as fast as"]])(
    "admits that %d s would have been %s",
    (estimated_baseline_seconds, words) => {
      expect(headline({ estimated_baseline_seconds }).time).toBe(`3.2 s, ${words} computing every step`);
    },
  );

  it("counts frames where the run kept to the active ones", () => {
    expect(headline({ frames_computed: 320, frames_baseline: 2000 }).frames).toBe(
      "16% of the frames of a full run went through the model (320 of 2000)",
    );
  });

  it("compares times where only frames were saved", () => {
    const saved = { computed: 125, frames_computed: 900, frames_baseline: 2000, estimated_baseline_seconds: 6.4 };
    expect(headline(saved).time).toBe("3.2 s, about 2.0x faster than computing every step");
  });

  it("says that nothing was skipped, and why", () => {
    const { evaluations, time, note } = headline({
      computed: 125,
      estimated_baseline_seconds: 3.5,
      skipped_reason: "Most often because SCOPE is off.",
    });
    expect(evaluations).toBe("125 of 125 evaluations");
    expect(time).toBe("3.2 s");
    expect(note).toBe("Nothing was skipped. Most often because SCOPE is off.");
  });

  it("names the commonest rule where nothing was skipped without a reason", () => {
    const segments = [staircase({ steps: [step("R.", "w.", "0009", [0, 5])] })];
    const { note } = headlineOf(trace({ totals: { ...totals, computed: 125 }, segments }));
    expect(note).toBe("Nothing was skipped. Most often because warm-up.");
  });
});

describe("applyStep", () => {
  const { steps, ...header } = staircase();

  it("builds a trace from live events", () => {
    let live = applyStep(null, { node: "1", segment: header, step: steps[0], run: { model: "m" }, rules: { w: "warm" } });
    live = applyStep(live, { node: "1", segment: 0, step: steps[1] });
    live = applyStep(live, { node: "1", segment: 0, step: steps[2] });
    expect(live.run.model).toBe("m");
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

  it("adds later segments", () => {
    let live = applyStep(null, { node: "1", segment: header, step: steps[0] });
    live = applyStep(live, { node: "1", segment: { ...header, index: 1 }, step: steps[0] });
    live = applyStep(live, { node: "1", segment: 1, step: steps[1] });
    expect(live.segments.map((segment) => segment.steps.length)).toEqual([1, 2]);
  });

  it("starts afresh with segment 0", () => {
    const live = applyStep(null, { node: "1", segment: header, step: steps[0] });
    expect(applyStep(live, { node: "1", segment: header }).segments).toHaveLength(1);
    expect(applyStep(trace(), { node: "1", segment: header }).segments[0].steps).toEqual([]);
  });

  it("keeps what is shown when the header was missed", () => {
    const finished = trace();
    expect(applyStep(finished, { node: "1", segment: 0, step: steps[0] })).toBe(finished);
    expect(finished.segments[0].steps).toHaveLength(4);
    expect(applyStep(null, { node: "1", segment: 2, step: steps[0] })).toBeNull();
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
    let live = applyStep(null, { node: "1", segment: header, step: steps[0] });
    expect(headlineOf(live).evaluations).toBe("1 of 1 chunk evaluations so far");
    live = applyStep(live, { node: "1", segment: 0, step: steps[1] });
    expect(headlineOf(live).evaluations).toBe("2 of 3 chunk evaluations, 1.50x fewer so far");
    live = applyStep(live, { node: "1", segment: 0, step: steps[2] });
    live = applyStep(live, { node: "1", segment: 0, step: steps[3] });
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

describe("numbers in words", () => {
  it.each([[0.31234, "0.312"], [1, "1"], [0, "0"], [0.99994, "1"], [0.00031, "0.00031"]])("%d is %s", (number, text) => {
    expect(decimal(number)).toBe(text);
  });

  it.each([[0.031, "31 ms"], [0.9999, "1.0 s"], [3.21, "3.2 s"], [59.96, "1 min 0 s"], [125.4, "2 min 5 s"]])(
    "%d seconds are %s",
    (seconds, text) => expect(duration(seconds)).toBe(text),
  );
});
