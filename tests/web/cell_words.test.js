import { describe, expect, it } from "vitest";

import { describeCell, frameRange, segmentRange } from "../../web/timeline/cell_words.js";
import { cellAt, gridOf } from "../../web/timeline/grid.js";
import { staircase, step, trace } from "./traces.js";

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

  it("names rules that the trace has no sentence for", () => {
    expect(describeAt(1, 1)[1]).toContain('Reused from the cache: rule "c".');
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
