import { describe, expect, it } from "vitest";

import { neighbour, symbolNear } from "../../web/tradeoff/find_symbol.js";
import { assignLanes, placeLabels } from "../../web/tradeoff/labels.js";
import { layoutChart } from "../../web/tradeoff/layout.js";
import { ROOM, baseline, point, view } from "./chart_points.js";

function boxesTouch(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

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

  it("gives labels the room that their letters need", () => {
    const state = view([baseline(), point("fast", 10, 2, 40)]);
    const boxOf = (measure) => layoutChart(state, { ...ROOM, measure }).labels.find(({ text }) => text === "fast").box;
    expect(boxOf((text) => text.length * 4).width).toBe(16);
    expect(boxOf((text) => text.length * 9).width).toBe(36);
    expect(layoutChart(state, { ...ROOM, measure: () => 2000 }).labels).toEqual([]);
  });

  it("wraps the legend where it would be too wide", () => {
    const rows = (width) => new Set(layoutChart(view([baseline(), ...many]), { ...ROOM, width }).legend.map(({ y }) => y)).size;
    expect(rows(900)).toBe(1);
    expect(rows(260)).toBeGreaterThan(1);
  });

  it("takes the longest title that fits", () => {
    const title = (letter) => layoutChart(view([baseline(), point("fast", 10, 2, 40)]), { ...ROOM, measure: (text) => text.length * letter }).y.title;
    expect(title(5)).toBe("PSNR in dB, up is better");
    expect(title(10)).toBe("PSNR ↑ better");
    expect(title(100)).toBe("");
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
  const item = { text: "label", width: 31, x: 100, y: 50, reach: 5 };

  it("avoids lines where it can and crosses them where it must", () => {
    const [first] = placeLabels([item], free);
    const [second] = placeLabels([item], { ...free, lines: [first.box] });
    expect(boxesTouch(first.box, second.box)).toBe(false);
    expect(placeLabels([item], { ...free, lines: [free.bounds] })).toHaveLength(1);
  });

  it("leaves out what has no place", () => {
    expect(placeLabels([item], { ...free, solid: [free.bounds] })).toEqual([]);
    expect(placeLabels([{ ...item, width: 499 }], free)).toEqual([]);
  });

  it("puts symbols that would touch into different lanes, as long as there are lanes", () => {
    const items = [100, 101, 102, 400].map((position) => ({ position, width: 12 }));
    expect(assignLanes(items, 3)).toEqual([0, 1, 2, 0]);
    expect(new Set(assignLanes(items, 2))).toEqual(new Set([0, 1]));
    expect(assignLanes([], 3)).toEqual([]);
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
