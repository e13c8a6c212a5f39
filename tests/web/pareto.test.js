import { describe, expect, it } from "vitest";

import { PayloadError } from "../../web/payload.js";
import {
  assignLanes,
  describePoint,
  layoutChart,
  marksOf,
  neighbour,
  noteOfPlan,
  obstaclesOf,
  paretoFront,
  parseRuns,
  placeLabels,
  symbolNear,
  titleOf,
  withPoint,
  wrapText,
} from "../../web/pareto.js";

const METRICS = {
  psnr: { label: "PSNR", unit: "dB", better: "higher" },
  ssim: { label: "SSIM", unit: "", better: "higher" },
  latent_error: { label: "Latent error", unit: "relative", better: "lower" },
};
const CLIP = { filename: "a.mp4", subfolder: "", type: "temp" };
const ROOM = { width: 500, bottom: 240 };

function point(label, computed, seconds, psnr, more = {}) {
  const settings = { method: "scope", tau_c: 0.01, tau_p: 0.5, decay: 0.75, max_skip: computed, warm_up: 0, tail: 1 };
  const measured = seconds === undefined ? {} : { seconds, psnr, psnr_worst: psnr - 3, latent_error: 1 / psnr, clip: CLIP };
  return { label, method: "scope", settings, widgets: { preset: label }, iterations: 50, computed, ...measured, ...more };
}

function baseline(more = {}) {
  const speed = { settings: { method: "off" }, widgets: { preset: "off" }, iterations: 50, computed: 50, seconds: 10 };
  return { label: "off", method: "off", baseline: true, ...speed, clip: CLIP, ...more };
}

function runs(points, more = {}) {
  return { format: "scope.runs", version: 1, model: "demo", metrics: METRICS, notes: [], points, ...more };
}

function view(points, more = {}) {
  return { runs: points && parseRuns(runs(points)), plan: [], current: null, x: "seconds", metric: "psnr", ...more };
}

function kinds(marks) {
  return Object.fromEntries(marks.map(({ point: { label }, kind }) => [label, kind]));
}

function boxesTouch(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

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

describe("paretoFront", () => {
  const front = (...pairs) => [...paretoFront(pairs.map(([x, y]) => ({ x, y })))].map(({ x, y }) => [x, y]);

  it("keeps a single point", () => expect(front([1, 1])).toEqual([[1, 1]]));
  it("keeps nothing of nothing", () => expect(front()).toEqual([]));
  it("keeps points at the same place", () => expect(front([1, 1], [1, 1])).toHaveLength(2));
  it("keeps the best of a tie on one axis", () => expect(front([1, 1], [1, 2], [3, 2])).toEqual([[1, 2]]));
  it("keeps one that beats all others", () => expect(front([2, 1], [1, 3], [3, 2])).toEqual([[1, 3]]));
  it("keeps what costs more and gives more, up to identical", () => expect(front([1, 1], [2, 2], [3, Infinity])).toHaveLength(3));
});

describe("marksOf", () => {
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

describe("layoutChart", () => {
  const methods = ["scope", "teacache", "steps"];
  const many = Array.from({ length: 15 }, (_, i) =>
    point(`setting ${i}`, 10 + i, 2 + i * 0.3, 35 + ((i * 7) % 15), { method: methods[i % 3] }),
  );

  it("draws up as better for every metric", () => {
    for (const metric of ["psnr", "latent_error"]) {
      const { symbols, y } = layoutChart(view([point("good", 20, 4, 50), point("fast", 10, 2, 40)], { metric }), ROOM);
      const [good, fast] = ["good", "fast"].map((label) => symbols.find((symbol) => symbol.point.label === label));
      expect(good.py).toBeLessThan(fast.py);
      expect(y.title).toContain("better");
    }
  });

  it("gives ticks round values inside the plot", () => {
    const { x, y, plot } = layoutChart(view([baseline(), ...many]), ROOM);
    expect(x.ticks.map(({ text }) => text)).toEqual(["2", "4", "6", "8", "10"]);
    for (const { position } of y.ticks) expect(position).toBeGreaterThan(plot.y);
    for (const { position } of y.ticks) expect(position).toBeLessThanOrEqual(plot.y + plot.height);
  });

  it("writes zero without a sign and never a negative error", () => {
    const { y } = layoutChart(view([point("a", 20, 4, 500), point("b", 10, 2, 20)], { metric: "latent_error" }), ROOM);
    expect(y.ticks.map(({ text }) => text)).toContain("0");
    expect(y.ticks.every(({ text }) => !text.startsWith("-"))).toBe(true);
  });

  it("counts evaluations in whole numbers", () => {
    const { x } = layoutChart(view([point("a", 20, 4, 50), point("b", 21, 4, 51)], { x: "evaluations" }), ROOM);
    expect(x.ticks.every(({ text }) => Number.isInteger(Number(text)))).toBe(true);
  });

  it("adds a scale of speed-ups relative to the baseline, only where there is one", () => {
    const { factor, markerX } = layoutChart(view([baseline(), point("fast", 10, 2.5, 40)]), ROOM);
    expect(factor.ticks).toContainEqual({ position: markerX, text: "1x" });
    expect(factor.ticks.map(({ text }) => text)).toContain("4x");
    expect(layoutChart(view([point("fast", 10, 2.5, 40)]), ROOM)).toMatchObject({ markerX: null, factor: { ticks: [] } });
  });

  it("keeps labels inside and apart from each other and from the symbols", () => {
    for (const width of [300, 500, 900]) {
      const state = view([baseline(), ...many], { plan: [point("next", 9), point("one more", 9)] });
      const { labels, symbols, plot, rail } = layoutChart(state, { ...ROOM, width, labelAll: true });
      expect(labels.length).toBeGreaterThan(3);
      for (const { box, kind } of labels) {
        const room = kind === "planned" ? rail : plot;
        expect(box.x).toBeGreaterThanOrEqual(room.x);
        expect(box.x + box.width).toBeLessThanOrEqual(room.x + room.width);
        expect(labels.filter((other) => boxesTouch(other.box, box))).toHaveLength(1);
        expect(symbols.filter(({ px, py }) => boxesTouch({ x: px - 4, y: py - 4, width: 8, height: 8 }, box))).toEqual([]);
      }
    }
  });

  it("shortens long labels", () => {
    const long = point("tau_c 0.18, tau_p 0.42, decay_mode paper, max_skip 3", 10, 2, 40);
    const { labels } = layoutChart(view([baseline(), long]), ROOM);
    expect(labels.map(({ text }) => text)).toContain("tau_c 0.18, tau_p 0.42,…");
  });

  it("has a legend when there is more than one method", () => {
    const texts = (points) => layoutChart(view(points), ROOM).legend.map(({ text }) => text);
    expect(texts([baseline(), point("fast", 10, 2, 40)])).toEqual([]);
    expect(texts([baseline(), ...many])).toEqual(expect.arrayContaining(["scope", "teacache", "steps"]));
  });

  it.each([
    ["nothing", view(null)],
    ["no points", view([])],
    ["one point", view([point("only", 10, 2, 40)])],
    ["only a baseline", view([baseline()])],
    ["only identical ones", view([baseline(), point("same", 40, 8, null, { identical: true })])],
    ["only planned ones", view(null, { plan: [point("a", 9), baseline({ seconds: undefined })], x: "evaluations" })],
    ["no metric", view([baseline(), point("a", 9, 2, 40)], { metric: undefined })],
    ["a perfect value", view([point("a", 9, 2, 40, { ssim: 1 })], { metric: "ssim" })],
    ["no error at all", view([point("a", 9, 2, 40, { latent_error: 0 })], { metric: "latent_error" })],
  ])("lays out %s with numbers everywhere", (_, state) => {
    const { symbols, x, y, factor, plot } = layoutChart(state, ROOM);
    const ofTicks = [...x.ticks, ...y.ticks, ...factor.ticks].map(({ position }) => position);
    const positions = [...symbols.flatMap(({ px, py }) => [px, py]), ...ofTicks, plot.height];
    expect(positions.filter((position) => !Number.isFinite(position))).toEqual([]);
    for (const { px, py } of symbols) {
      expect(px).toBeGreaterThanOrEqual(plot.x);
      expect(px).toBeLessThanOrEqual(plot.x + plot.width);
      expect(py).toBeGreaterThanOrEqual(plot.y);
    }
  });

  it("says how often an evaluation is saved from the plan alone", () => {
    const planned = view(null, { plan: [point("a", 10), baseline({ seconds: undefined })], x: "evaluations" });
    const { factor, markerX, measured } = layoutChart(planned, ROOM);
    expect(factor.ticks.map(({ text }) => text)).toContain("1x");
    expect({ markerX, measured }).toEqual({ markerX: null, measured: false });
  });
});

describe("placing", () => {
  const free = { bounds: { x: 0, y: 0, width: 200, height: 100 }, solid: [], lines: [] };
  const item = { text: "label", x: 100, y: 50, reach: 5 };

  it("avoids lines where it can and crosses them where it must", () => {
    const [first] = placeLabels([item], free);
    const [second] = placeLabels([item], { ...free, lines: [first.box] });
    expect(boxesTouch(first.box, second.box)).toBe(false);
    expect(placeLabels([item], { ...free, lines: [free.bounds] })).toHaveLength(1);
  });

  it("leaves out what has no place", () => {
    expect(placeLabels([item], { ...free, solid: [free.bounds] })).toEqual([]);
    expect(placeLabels([{ ...item, text: "much too long for this room".repeat(3) }], free)).toEqual([]);
  });

  it("puts symbols that would touch into different lanes, as long as there are lanes", () => {
    const items = [100, 101, 102, 400].map((position) => ({ position, text: "ab" }));
    expect(assignLanes(items, 3)).toEqual([0, 1, 2, 0]);
    expect(new Set(assignLanes(items, 2))).toEqual(new Set([0, 1]));
    expect(assignLanes([], 3)).toEqual([]);
  });

  it("wraps text at spaces", () => {
    expect(wrapText("one two three", 50)).toEqual(["one two", "three"]);
    expect(wrapText("", 50)).toEqual([]);
  });
});

describe("finding a symbol", () => {
  const symbols = [{ px: 10, py: 50 }, { px: 30, py: 10 }, { px: 60, py: 90 }];

  it("by the arrow keys, stopping at the ends", () => {
    expect(neighbour(symbols, null, "ArrowRight")).toBe(symbols[0]);
    expect(neighbour(symbols, symbols[0], "ArrowRight")).toBe(symbols[1]);
    expect(neighbour(symbols, symbols[0], "ArrowLeft")).toBe(symbols[0]);
    expect(neighbour(symbols, symbols[0], "ArrowDown")).toBe(symbols[2]);
    expect(neighbour(symbols, symbols[0], "End")).toBe(symbols[2]);
    expect(neighbour(symbols, symbols[0], "a")).toBe(null);
    expect(neighbour([], null, "Home")).toBe(null);
  });

  it("by being close to the pointer", () => {
    expect(symbolNear(symbols, 12, 52)).toBe(symbols[0]);
    expect(symbolNear(symbols, 200, 52)).toBe(null);
    expect(symbolNear([], 1, 1)).toBe(null);
  });
});

describe("words", () => {
  function describeLabel(label, state) {
    const mark = marksOf(state).find(({ point: { label: other } }) => other === label);
    const { title, lines } = describePoint(mark, state);
    return [title, ...lines].join("\n");
  }

  it("keep evaluations and seconds apart, and name mean and worst frame", () => {
    const text = describeLabel("fast", view([baseline(), point("fast", 10, 2.5, 40)]));
    expect(text).toContain("fast (scope)");
    expect(text).toContain("10 of 50 evaluations, 5.00x fewer. Measured 2.5 s, 4.00x faster.");
    expect(text).toContain("PSNR 40.0 dB (worst frame 37.0), Latent error 0.025.");
    expect(text).toContain("No other setting beats it.");
    expect(text).toContain("Cache below 0.01, predict below 0.5, decay 0.75, at most 10 skipped in a row, tail 1.");
  });

  it("compare with nothing where there is no baseline", () => {
    expect(describeLabel("fast", view([point("fast", 10, 2.5, 40)]))).toContain("10 of 50 evaluations. Measured 2.5 s.");
  });

  it("say slower for what is slower", () => {
    const text = describeLabel("slow", view([baseline(), point("slow", 50, 12.5, 60)]));
    expect(text).toMatch(/1\.25x slower.*\n.*\nBeaten by the run without SCOPE\./);
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
  const around = { baseline: baseline(), samplers: [{ id: "1", title: "SCOPE Sampler" }] };

  it("has none for a measured point of the sampler", () => {
    expect(obstaclesOf(fast, around)).toEqual({ apply: "", compare: "" });
  });

  it("says why a point cannot be applied", () => {
    expect(obstaclesOf({ ...fast, point: { ...fast.point, widgets: null } }, around).apply).toContain("no sliders");
    expect(obstaclesOf(fast, { ...around, samplers: [] }).apply).toContain("no SCOPE Sampler");
  });

  it("says why a point cannot be compared", () => {
    expect(obstaclesOf({ kind: "baseline", point: baseline() }, around).compare).toContain("compared with");
    expect(obstaclesOf({ kind: "planned", point: point("next", 7) }, around).compare).toContain("Not measured");
    expect(obstaclesOf(fast, { ...around, baseline: null }).compare).toContain("no unaccelerated run");
    expect(obstaclesOf({ ...fast, point: { ...fast.point, clip: null } }, around).compare).toContain("VAE");
  });
});
