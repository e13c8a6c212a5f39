import { describe, expect, it } from "vitest";

import { judgeOf, marksOf, paretoFront } from "../../web/tradeoff/marks.js";
import { describePoint, noteOfPlan } from "../../web/tradeoff/words.js";
import { baseline, kinds, point, view } from "./chart_points.js";

describe("paretoFront", () => {
  const front = (...pairs) => [...paretoFront(pairs.map(([x, y]) => ({ x, y, trials: [] })), judgeOf({ runs: null, x: "evaluations" }))].map(({ x, y }) => [x, y]);

  it("keeps a single point", () => expect(front([1, 1])).toEqual([[1, 1]]));
  it("keeps nothing of nothing", () => expect(front()).toEqual([]));
  it("keeps points at the same place", () => expect(front([1, 1], [1, 1])).toHaveLength(2));
  it("keeps the best of a tie on one axis", () => expect(front([1, 1], [1, 2], [3, 2])).toEqual([[1, 2]]));
  it("keeps one that beats all others", () => expect(front([2, 1], [1, 3], [3, 2])).toEqual([[1, 3]]));
  it("keeps what costs more and gives more, up to identical", () => expect(front([1, 1], [2, 2], [3, Infinity])).toHaveLength(3));
});

describe("marksOf", () => {
  it("calls nothing beaten by the noise of a clock", () => {
    const points = (seconds) => [baseline(), point("a", 20, 4, 40), point("b", 20, seconds, 39)];
    const kindsBy = (x, seconds) => kinds(marksOf({ ...view(points(seconds)), x })).b;
    expect(kindsBy("seconds", 4.1)).toBe("front");
    expect(kindsBy("seconds", 4.4)).toBe("dominated");
    expect(kindsBy("evaluations", 4.1)).toBe("dominated");
  });

  it("tells the front from what is beaten, and says by which", () => {
    const marks = marksOf(view([baseline(), point("good", 20, 4, 50), point("fast", 10, 2, 40), point("bad", 12, 3, 35)]));
    expect(kinds(marks)).toEqual({ off: "baseline", good: "front", fast: "front", bad: "dominated" });
    expect(marks.find(({ kind }) => kind === "dominated").beatenBy.label).toBe("fast");
  });

  it("turns metrics round of which less is better", () => {
    const marks = marksOf(view([point("good", 20, 4, 50), point("bad", 22, 5, 40)], { metric: "latent_error" }));
    expect(kinds(marks)).toEqual({ good: "front", bad: "dominated" });
  });

  it("counts as beaten what is slower than computing every step", () => {
    const marks = marksOf(view([baseline(), point("slow", 50, 11, 60)]));
    expect(kinds(marks)).toEqual({ off: "baseline", slow: "dominated" });
  });

  it("puts what is identical to the baseline at the top", () => {
    const [identical] = marksOf(view([baseline(), point("same", 40, 8, null, { identical: true })]));
    expect(identical).toMatchObject({ kind: "front", y: Infinity });
  });

  it("leaves out points without the metric or the time that is asked for", () => {
    expect(marksOf(view([point("a", 9, 2, 40)], { metric: "ssim" }))).toEqual([]);
    expect(marksOf(view([point("a", 9, null, 40)]))).toEqual([]);
    expect(marksOf(view([point("a", 9, null, 40)], { x: "evaluations" }))).toHaveLength(1);
    expect(marksOf(view([point("a", 9, 2, "40")]))).toEqual([]);
    expect(marksOf(view([point("a", 9, 2, 40)], { metric: undefined }))).toEqual([]);
  });

  it("places planned points by the seconds that an evaluation takes", () => {
    const marks = marksOf(view([baseline()], { plan: [point("fast", 10)] }));
    expect(marks.find(({ kind }) => kind === "planned").x).toBe(2);
  });

  it("shows planned points only by evaluations where no baseline was timed", () => {
    const planned = view([point("a", 9, 2, 40)], { plan: [point("fast", 10)] });
    expect(kinds(marksOf(planned))).toEqual({ a: "front" });
    expect(noteOfPlan(planned)).toContain("under Evaluations");
    expect(kinds(marksOf({ ...planned, x: "evaluations" }))).toEqual({ a: "front", fast: "planned" });
    expect(noteOfPlan({ ...planned, x: "evaluations" })).toBe("");
  });

  it("shows a planned point no more once it is measured", () => {
    const marks = marksOf(view([baseline(), point("fast", 10, 2, 40)], { plan: [point("fast", 10), baseline({ seconds: undefined })] }));
    expect(kinds(marks)).toEqual({ fast: "front", off: "baseline" });
  });

  it("rings the setting of the sampler, whether measured, planned or neither", () => {
    const state = view([baseline(), point("fast", 10, 2, 40)], { plan: [point("next", 7)] });
    const ringed = (current) => marksOf({ ...state, current }).filter((mark) => mark.ringed);
    expect(ringed(null)).toEqual([]);
    expect(ringed(point("anything", 10))).toMatchObject([{ kind: "front", point: { label: "fast" } }]);
    expect(ringed(point("anything", 7))).toMatchObject([{ kind: "planned", point: { label: "next" } }]);
    expect(ringed(point("anything", 8))).toMatchObject([{ kind: "planned", x: 1.6 }]);
  });

  it("rings the baseline where the sampler computes every step, however that is set", () => {
    const current = baseline({ settings: { threshold: 0 }, seconds: 0 });
    expect(marksOf(view([baseline()], { current }))).toMatchObject([{ kind: "baseline", ringed: true }]);
  });

  it("does not take a plan's zero seconds for a measurement", () => {
    const planned = view([baseline()], { plan: [point("next", 7, 0)] });
    const [mark] = marksOf(planned);
    expect(mark.kind).toBe("planned");
    expect(mark.x).toBeCloseTo(1.4);
    expect(describePoint(mark, planned).lines[0]).toBe("7 of 50 evaluations, 7.14x fewer. Not measured yet.");
  });

  it("knows equal settings whatever the order of their names", () => {
    const settings = Object.fromEntries(Object.entries(point("a", 10).settings).reverse());
    const marks = marksOf(view([point("fast", 10, 2, 40)], { current: { ...point("x", 10), settings } }));
    expect(marks).toMatchObject([{ ringed: true, kind: "front" }]);
  });
});
