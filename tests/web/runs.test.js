import { describe, expect, it } from "vitest";

import { PayloadError } from "../../web/lib/payload.js";
import { marksOf } from "../../web/tradeoff/marks.js";
import { parseRuns, withPoint } from "../../web/tradeoff/runs.js";
import { METRICS, baseline, kinds, point, runs, view } from "./chart_points.js";

describe("parseRuns", () => {
  it.each([[null], [undefined], ["runs"], [{}], [{ format: "scope.trace", version: 1 }]])("refuses %j", (payload) => {
    expect(() => parseRuns(payload)).toThrow("This is not a SCOPE sweep.");
  });

  it("says that a newer version needs an update, whatever else changed in it", () => {
    expect(() => parseRuns(runs({ changed: true }, { version: 2 }))).toThrow(/format version 2.*Update SCOPE/);
  });

  it.each([[undefined], ["points"], [[null]], [[{ label: "a" }]], [[{ label: "a", computed: 0 }]], [[{ computed: 5 }]]])(
    "refuses the points %j",
    (points) => {
      expect(() => parseRuns(runs(points))).toThrow(PayloadError);
    },
  );

  it("does without metrics and notes, and leaves out unreadable ones", () => {
    expect(parseRuns(runs([], { metrics: undefined, notes: "x" }))).toMatchObject({ metrics: {}, notes: [], points: [] });
    const spoilt = runs([], { metrics: { a: null, ...METRICS }, notes: [1, "kept"] });
    expect(parseRuns(spoilt)).toMatchObject({ metrics: METRICS, notes: ["kept"] });
  });
});

describe("withPoint", () => {
  const header = runs(undefined);

  it("collects points as they come, and replaces a point that is measured again", () => {
    let live = withPoint(null, { run: header, point: baseline() });
    live = withPoint(live, { run: header, point: point("fast", 11, 3, 40) });
    live = withPoint(live, { run: header, point: point("fast", 11, 2.5, 40) });
    expect(live.points.map(({ label, seconds }) => [label, seconds])).toEqual([["off", 10], ["fast", 2.5]]);
  });

  it("starts anew with a baseline and with another model", () => {
    const old = parseRuns(runs([baseline(), point("fast", 11, 3, 40)]));
    expect(withPoint(old, { run: header, point: baseline() }).points).toHaveLength(1);
    expect(withPoint(old, { run: { ...header, model: "other" }, point: point("a", 9, 1, 30) }).points).toHaveLength(1);
  });

  it("keeps metrics that only some points have, and a second run of the baseline's settings", () => {
    let live = withPoint(null, { run: { ...header, metrics: {} }, point: baseline() });
    live = withPoint(live, { run: header, point: point("fast", 11, 3, 40) });
    live = withPoint(live, { run: { ...header, metrics: {} }, point: baseline({ identical: true, label: "again", seconds: 9 }) });
    expect(live.points.map(({ label }) => label)).toEqual(["off", "fast", "again"]);
    expect(live.metrics).toEqual(METRICS);
    expect(kinds(marksOf(view(live.points)))).toEqual({ fast: "front", again: "front", off: "baseline" });
  });

  it("refuses garbage", () => {
    expect(() => withPoint(null, { run: header, point: null })).toThrow(PayloadError);
    expect(() => withPoint(null, { run: null, point: point("a", 9, 1, 30) })).toThrow(PayloadError);
  });
});
