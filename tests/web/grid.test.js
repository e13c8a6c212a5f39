import { describe, expect, it } from "vitest";

import { LOOK, cellAt, countLooks, gridOf, grownGrid, intervalsOf, progressOf } from "../../web/timeline/grid.js";
import { staircase, step, trace } from "./traces.js";

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
    expect(cellAt(grid, 1, 1)).toMatchObject({ look: LOOK.cache, rule: "c", progress: 1, sigma: 0.9, score: 0.01 });
    expect(cellAt(grid, 3, 1)).toMatchObject({ look: LOOK.recompute, progress: 3, sigma: 0.3, score: 0.31 });
    expect(cellAt(grid, 0, 1)).toMatchObject({ look: LOOK.context, progress: 0, score: null });
  });

  it("reads the scores of version 1, which were numbers", () => {
    const steps = [step("RC", "wc", [0.5, 0.000123], [0, 5])];
    expect(cellAt(gridOf(trace({ version: 1, segments: [staircase({ steps })] })), 0, 1).score).toBe(0.000123);
  });

  it("finds iterations of later segments", () => {
    const two = gridOf(trace({ segments: [staircase(), staircase({ index: 1, start: 14 })] }));
    expect(cellAt(two, 6, 0)).toMatchObject({ look: LOOK.predict, column: 6, place: { first: 4 } });
  });

  it.each([[-1, 0], [4, 0], [0, -1], [0, 2]])("has nothing at %i, %i", (column, unit) => {
    expect(cellAt(grid, column, unit)).toBeNull();
  });
});
