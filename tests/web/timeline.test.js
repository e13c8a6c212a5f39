// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { svgOf } from "../../web/timeline/draw_trace.js";
import { gridOf } from "../../web/timeline/grid.js";
import { Timeline } from "../../web/timeline/timeline.js";
import { stubPage } from "./page_stubs.js";

const TRACE = {
  format: "scope.trace",
  version: 2,
  run: { settings: { tau_c: 0.1, tau_p: 0.3 } },
  rules: { w: "warm-up", p: "score below the predict threshold" },
  segments: [
    {
      index: 0,
      start: 0,
      frames: 2,
      prefix: 0,
      tail: 0,
      ar_step: 1,
      units: [[0, 1], [1, 2]],
      sigmas: [0.9, 0.5, 0.0],
      steps: [
        { modes: "R.", rules: "w.", scores: "0009", frames: [0, 2], seconds: 0.1 },
        { modes: "PR", rules: "pw", scores: "20030009", frames: [0, 2], seconds: 0.1 },
        { modes: ".P", rules: ".p", scores: "2003", frames: [0, 0], seconds: 0.001 },
      ],
    },
  ],
  totals: { iterations: 3, computed: 2, seconds: 0.2, skipped_reason: "" },
};

let timeline;

function press(key) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  timeline.plot.element.dispatchEvent(event);
  return event;
}

function details() {
  return timeline.element.querySelector('[role="status"]').textContent;
}

beforeEach(() => {
  stubPage();
  timeline = new Timeline();
  document.body.replaceChildren(timeline.element);
});

describe("Timeline", () => {
  it("invites to a first run while it is empty", () => {
    expect(timeline.empty.hidden).toBe(false);
    expect(timeline.empty.textContent).toContain("Run the workflow");
    expect(timeline.plot.element.hidden).toBe(true);
  });

  it("shows the numbers of a trace", () => {
    timeline.show(TRACE);
    expect(timeline.empty.hidden).toBe(true);
    expect(timeline.evaluations.textContent).toBe("2 of 3 evaluations, 1.50x fewer");
    expect(timeline.plot.legend.element.textContent).toContain("Recompute 50%");
  });

  it("says what is wrong with something that is not a trace, and recovers", () => {
    timeline.show({ format: "other" });
    expect(timeline.empty.textContent).toBe("This is not a SCOPE trace.");
    timeline.show(TRACE);
    expect(timeline.plot.element.hidden).toBe(false);
  });

  it("moves through the cells with the keyboard and stops at the edges", () => {
    timeline.show(TRACE);
    expect(press("ArrowRight").defaultPrevented).toBe(true);
    expect(details()).toMatch(/^Iteration 2 of 3 \(100 ms\), chunk 1 of 2 .*\nPredicted: score below the predict threshold\./);
    press("ArrowDown");
    press("ArrowDown");
    expect(details()).toContain("chunk 2 of 2");
    press("End");
    press("ArrowRight");
    expect(details()).toContain("Iteration 3 of 3");
  });

  it("leaves keys alone that it has no use for", () => {
    timeline.show(TRACE);
    expect(press("r").defaultPrevented).toBe(false);
    expect(press("Escape").defaultPrevented).toBe(false);
  });

  it("holds a cell until it is let go", () => {
    timeline.show(TRACE);
    press("ArrowRight");
    press("Enter");
    timeline.plot.element.dispatchEvent(new Event("pointerleave"));
    expect(details()).toMatch(/^Held\. Iteration 2/);
    press("Escape");
    expect(details()).toContain("Point at a cell");
  });

  it("follows a run once per screen frame, and then shows its result", async () => {
    const { steps, ...header } = TRACE.segments[0];
    const drawn = vi.spyOn(timeline, "refresh");
    timeline.follow({ node: "1", segment: header, index: 0, step: steps[0] });
    timeline.follow({ node: "1", segment: 0, index: 1, step: steps[1] });
    await new Promise(requestAnimationFrame);
    expect(drawn).toHaveBeenCalledTimes(1);
    expect(timeline.evaluations.textContent).toBe("2 of 2 evaluations so far");
    timeline.show(TRACE);
    expect(timeline.evaluations.textContent).toBe("2 of 3 evaluations, 1.50x fewer");
  });

  it("does not take a run in progress for an earlier one", async () => {
    const { steps, ...header } = TRACE.segments[0];
    timeline.show(TRACE);
    timeline.compareWith({ trace: { ...TRACE, run: { settings: { tau_c: 0.2 } } }, exact: true });
    expect(timeline.note.textContent).toContain("earlier run");
    expect(timeline.element.className).toContain("scope-timeline-earlier");
    timeline.follow({ node: "1", segment: header, index: 0, step: steps[0] });
    await new Promise(requestAnimationFrame);
    expect(timeline.note.textContent).toBe("");
    expect(timeline.element.className).not.toContain("scope-timeline-earlier");
  });

  it("says on pointing what a number and a colour mean", () => {
    timeline.show(TRACE);
    const [recompute] = timeline.plot.legend.element.children;
    expect(recompute.title).toBe("The model computed the velocity: 2 of 4 chunk steps");
    expect(timeline.plot.legend.element.textContent).toContain("Active interval");
  });
});

describe("the exported picture", () => {
  const pictureOf = (trace) => svgOf(gridOf(trace), { width: 1280, tallest: 480 });
  const texts = (svg) => [...svg.querySelectorAll("text")].map((text) => text.textContent);

  it("stands alone: cells with patterns, the outline, the numbers and the legend", () => {
    const svg = pictureOf(TRACE);
    const parsed = new DOMParser().parseFromString(new XMLSerializer().serializeToString(svg), "image/svg+xml");
    expect(parsed.querySelector("parsererror")).toBeNull();
    const patterns = [...parsed.querySelectorAll("pattern")].map(({ id }) => `url(#${id})`);
    expect(patterns).toHaveLength(3);
    expect(parsed.querySelectorAll(`path[fill="${patterns[1]}"]`)).toHaveLength(1);
    expect(texts(svg)).toEqual(expect.arrayContaining(["Recompute", "Active interval", "iteration", "0", "1"]));
    expect(texts(svg).join()).toContain("2 of 3 evaluations");
    expect(svg.outerHTML).not.toMatch(/NaN|undefined|href/);
  });

  it("leaves hatching and dots out of cells that are too narrow for them", () => {
    const steps = Array.from({ length: 300 }, (_, index) => TRACE.segments[0].steps[index % 3]);
    const svg = pictureOf({ ...TRACE, segments: [{ ...TRACE.segments[0], steps }] });
    expect(svg.querySelectorAll("pattern")).toHaveLength(1); // the lines of the context, which run along the cells
  });

  it("escapes what users wrote", () => {
    const svg = pictureOf({ ...TRACE, run: { model: "<b> & co" } });
    expect(texts(svg)).toContain("<b> & co");
    expect(new XMLSerializer().serializeToString(svg)).toContain("&lt;b&gt; &amp; co");
  });
});
