import { describe, expect, it } from "vitest";

import { differences, meanOf, valuesOf, withClip } from "../../web/tradeoff/clips.js";
import { layoutChart } from "../../web/tradeoff/layout.js";
import { intervalOf, marksOf } from "../../web/tradeoff/marks.js";
import { withPoint } from "../../web/tradeoff/runs.js";
import { describePoint, progressOf, titleOf } from "../../web/tradeoff/words.js";
import { METRICS, QUANTILES, ROOM, baseline, kinds, onClips, point, runs, viewOfClips } from "./chart_points.js";

const FULL = onClips("off", [50, 50, 50], [10, 10, 10]);
const QUALITY = onClips("quality", [20, 20, 20], [4, 4.2, 4.1], [50, 40, 30]);
const FAST = onClips("fast", [10, 12, 11], [2, 2.4, 2.2], [47, 36.5, 27.5]);

describe("means over clips", () => {
  it("have the intervals of Student's t", () => {
    expect(meanOf([50, 40, 30], QUANTILES).half).toBeCloseTo(24.84, 2);
    expect(meanOf([40], QUANTILES)).toEqual({ mean: 40, half: 0 });
    expect(meanOf([50, 40], {}).half).toBe(Infinity);
    expect(meanOf([7, 7], {})).toEqual({ mean: 7, half: 0 });
  });

  it("compare only clips that both have", () => {
    const a = new Map([["5/1", 3], ["6/1", 4], ["7/1", 9]]);
    const b = new Map([["6/1", 1], ["7/1", 6], ["8/1", 0]]);
    expect(differences(a, b)).toEqual([3, 3]);
  });

  it("count a clip that is equal as 100 dB, as long as not all are", () => {
    const some = onClips("some", [9, 9, 9], [1, 1, 1], [null, 40, 30]);
    expect(valuesOf(some, "psnr")).toEqual([100, 40, 30]);
    expect(valuesOf(onClips("all", [9, 9, 9], [1, 1, 1], [null, null, null]), "psnr")).toEqual([]);
  });

  it("keep the worst frame of all, and replace a clip that is made again", () => {
    expect(QUALITY).toMatchObject({ psnr: 40, psnr_worst: 27, computed: 20, clip: QUALITY.clips[0].clip });
    const again = withClip(QUALITY, { ...QUALITY.clips[1], psnr: 43 }, METRICS);
    expect(again.clips).toHaveLength(3);
    expect(again.psnr).toBe(41);
  });
});

describe("the chart of several clips", () => {
  const state = viewOfClips([FULL, QUALITY, FAST]);
  const symbolOf = (label, view = state) => layoutChart(view, ROOM).symbols.find((symbol) => symbol.point.label === label);

  it("has bars on both axes, across only where costs differ by clip", () => {
    expect(symbolOf("quality")).toMatchObject({ across: null, upright: { ends: [expect.any(Number), expect.any(Number)] } });
    const { px, across } = symbolOf("fast");
    expect(across.from).toBeLessThan(px);
    expect(across.to).toBeGreaterThan(px);
    expect(symbolOf("off")).toMatchObject({ across: null, upright: null });
  });

  it("has none for one clip, and none before the intervals are known", () => {
    const alone = viewOfClips([baseline(), point("fast", 10, 2, 40)]);
    expect(symbolOf("fast", alone)).toMatchObject({ across: null, upright: null });
    const { quantiles, ...unknown } = state.runs;
    expect(intervalOf(marksOf(state)[0], "y", { ...state, runs: unknown })).toBe(null);
  });

  it("cuts bars at the edges instead of squeezing the settings together", () => {
    const two = [onClips("off", [50, 50], [10, 10]), onClips("fast", [10, 10], [2, 2], [40, 36])];
    const { plot } = layoutChart(viewOfClips(two), ROOM);
    const { upright } = symbolOf("fast", viewOfClips(two));
    expect(upright).toEqual({ from: plot.y, to: plot.y + plot.height, ends: [] });
  });

  it("calls beaten only what is beaten clip by clip", () => {
    const worse = onClips("worse", [20, 20, 20], [4, 4, 4], [48, 38, 28]);
    const mixed = onClips("mixed", [20, 20, 20], [4, 4, 4], [52, 37, 29]);
    expect(kinds(marksOf(viewOfClips([FULL, QUALITY, worse, mixed])))).toEqual({
      off: "baseline",
      quality: "front",
      worse: "dominated",
      mixed: "front",
    });
  });

  it("tells means, intervals, the worst clip, and the difference to the next setting clip by clip", () => {
    const describe = (label) => describePoint(marksOf(state).find((mark) => mark.point.label === label), state).lines.join("\n");
    expect(describe("quality")).toContain("20 of 50 evaluations, 2.50x fewer. Measured on 3 clips: 4.1 s (3.9 s to 4.3 s), 2.4x faster.");
    expect(describe("quality")).toContain("PSNR 40.0 dB (15.2 to 64.8; worst clip 3, seed 7: 30.0; worst frame 27.0)");
    expect(describe("fast")).toContain("Against quality, clip by clip: PSNR −3.0 dB (−4.2 to −1.8).");
    expect(titleOf(state)).toBe("demo: 3 settings measured on 3 clips");
  });

  it("says which run of how many it is at", () => {
    const plan = [FULL, QUALITY, FAST].map(({ clips: [clip] }) => ({ ...clip, seconds: undefined }));
    const live = viewOfClips([{ ...FULL.clips[0] }, QUALITY.clips[0]], { plan });
    expect(progressOf(live, { label: "fast", clip: 1 })).toBe("Run 3 of 9, fast, clip 1 of 3, about 35 s left");
    expect(progressOf({ ...live, clips: 1 }, { label: "fast", clip: 1 })).toBe("Run 3 of 3, fast, about 5 s left");
    const again = { ...live, clips: 1, plan: live.runs.points };
    expect(progressOf(again, { label: "without SCOPE", clip: 1 })).toBe("Run 1 of 2, without SCOPE");
  });
});

describe("withPoint", () => {
  const header = runs(undefined);
  const live = (...points) => points.reduce((known, each) => withPoint(known, { run: header, point: each }), null);
  const clipsIn = ({ points }) => points.map(({ label, clips }) => [label, clips?.length ?? 1]);

  it("gathers the clips of a sweep, in whatever order they are made", () => {
    expect(clipsIn(live(FULL.clips[0], FULL.clips[1], FAST.clips[1], FAST.clips[0]))).toEqual([["off", 2], ["fast", 2]]);
  });

  it("starts anew with a baseline of another sweep, or with one that was there", () => {
    const known = [FULL.clips[0], FULL.clips[1], FAST.clips[0]];
    expect(clipsIn(live(...known, FULL.clips[0]))).toEqual([["off", 1]]);
    expect(clipsIn(live(...known, { ...FULL.clips[0], seed: "9", first_seed: "9" }))).toEqual([["off", 1]]);
  });
});
