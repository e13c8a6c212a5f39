import { describe, expect, it } from "vitest";

import { headlineOf } from "../../web/timeline/headline.js";
import { staircase, step, trace } from "./traces.js";

describe("headlineOf", () => {
  it("names a method other than SCOPE", () => {
    const evaluations = (method) => headlineOf(trace({ run: { method }, totals: { iterations: 50, computed: 25 } })).evaluations;
    expect(evaluations("teacache")).toBe("teacache: 25 of 50 evaluations, 2.00x fewer");
    expect(evaluations("scope")).toBe("25 of 50 evaluations, 2.00x fewer");
    expect(evaluations("planned")).toBe("25 of 50 evaluations, 2.00x fewer");
  });

  const totals = { iterations: 125, computed: 48, seconds: 3.2, skipped_reason: "" };
  const headline = (changes) => headlineOf(trace({ totals: { ...totals, ...changes } }));

  it("keeps evaluations and time apart", () => {
    expect(headline({ estimated_baseline_seconds: 8.1 })).toEqual({
      evaluations: "48 of 125 evaluations, 2.60x fewer",
      frames: "",
      time: "3.2 s in this run, about 2.5x faster than computing every step",
      timing: expect.stringContaining("took 3.2 s. Computing every step would have taken about 8.1 s"),
      note: "",
    });
  });

  it("claims no speed-up without an estimate of the baseline", () => {
    expect(headline({})).toMatchObject({ time: "3.2 s", timing: "" });
  });

  it.each([[1.6, "about 2x slower than"], [3.3, "about as fast as"], [3.1, "about as fast as"]])(
    "admits that %d s would have been %s",
    (estimated_baseline_seconds, words) => {
      expect(headline({ estimated_baseline_seconds }).time).toBe(`3.2 s in this run, ${words} computing every step`);
    },
  );

  it("counts frames where the run kept to the active ones", () => {
    expect(headline({ frames_computed: 320, frames_baseline: 2000 }).frames).toBe(
      "16% of the latent frames of a full run went through the model (320 of 2000)",
    );
  });

  it("counts frames where some were left out, as the computed iterations alone would say too little", () => {
    const saved = { iterations: 50, computed: 36, frames_computed: 500, frames_baseline: 1200 };
    expect(headline(saved).evaluations).toBe("36 of 50 evaluations, 2.40x fewer frames computed");
  });

  it("does not believe a clock that says more than the frames explain", () => {
    expect(headline({ estimated_baseline_seconds: 12.8 }).time).toBe(
      "3.2 s in this run, which does not tell how fast: the clock says 4x, the frames computed 2.6x",
    );
    expect(headline({ estimated_baseline_seconds: 8.6 }).time).toBe("3.2 s in this run, about 2.7x faster than computing every step");
  });

  it("compares times where only frames were saved", () => {
    const saved = { computed: 125, frames_computed: 900, frames_baseline: 2000, estimated_baseline_seconds: 6.4 };
    expect(headline(saved).time).toBe("3.2 s in this run, about 2x faster than computing every step");
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
