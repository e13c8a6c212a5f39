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
