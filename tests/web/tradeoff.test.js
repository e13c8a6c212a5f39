// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { TradeoffChart } from "../../web/tradeoff/tradeoff.js";
import { stubPage } from "./page_stubs.js";

const CLIP = { filename: "a.mp4", subfolder: "", type: "temp" };
const BASELINE = {
  label: "off",
  method: "off",
  baseline: true,
  settings: {},
  widgets: { preset: "off" },
  iterations: 50,
  computed: 50,
  seconds: 10,
  clip: CLIP,
};
const FAST = {
  label: "fast",
  method: "scope",
  settings: { max_skip: 4 },
  widgets: { preset: "fast" },
  iterations: 50,
  computed: 10,
  seconds: 2,
  psnr: 40,
  clip: CLIP,
};
const RUNS = {
  format: "scope.runs",
  version: 1,
  model: "demo",
  metrics: { psnr: { label: "PSNR", unit: "dB", better: "higher" } },
  notes: ["A note."],
  points: [BASELINE, FAST],
};

let chart;
let callbacks;

function press(key) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  chart.plot.element.dispatchEvent(event);
  return event;
}

function click(label) {
  [...chart.element.querySelectorAll("button")].find((button) => button.textContent === label).click();
}

function details() {
  return `${chart.title.textContent}\n${chart.text.textContent}`;
}

beforeEach(() => {
  stubPage();
  callbacks = {
    apply: vi.fn(() => "Done."),
    targets: vi.fn(() => [{ id: "7", title: "SCOPE Sampler" }]),
    openCompare: vi.fn(),
    viewUrl: vi.fn(),
  };
  chart = new TradeoffChart(callbacks);
  Object.defineProperties(chart.plot.element, { clientWidth: { value: 480 }, clientHeight: { value: 240 } });
  document.body.replaceChildren(chart.element);
});

describe("TradeoffChart", () => {
  it("invites to a first run while it is empty", () => {
    expect(chart.empty.textContent).toContain("Nothing measured yet");
    expect(chart.plot.element.hidden).toBe(true);
  });

  it("shows planned points before anything is measured", () => {
    chart.showPlan([{ ...FAST, seconds: undefined }], "An estimate.");
    expect(chart.plot.element.textContent).toContain("Nothing measured yet");
    expect(chart.plot.element.textContent).toContain("planned, not");
    expect(chart.notes.textContent).toContain("An estimate.");
  });

  it("shows runs, their notes and what quality means", () => {
    chart.show(RUNS);
    expect(chart.plot.element.textContent).toContain("without SCOPE");
    expect(chart.plot.element.textContent).toContain("times fewer");
    expect(chart.notes.textContent).toMatch(/^Fidelity to the run without SCOPE.* A note\.$/);
  });

  it("says what is wrong with garbage, and recovers", () => {
    chart.show({ format: "other" });
    expect(chart.empty.textContent).toBe("This is not a SCOPE sweep.");
    chart.show(RUNS);
    expect(chart.plot.element.hidden).toBe(false);
    chart.show({});
    expect(chart.empty.textContent).toBe("This is not a SCOPE sweep.");
    chart.showPlan({ not: "points" });
    chart.showCurrent({ not: "a point" });
  });

  it("grows while a sweep runs", () => {
    const { points, ...run } = RUNS;
    for (const point of points) chart.add({ node: "1", run, point });
    expect(chart.title.textContent).toBe("demo: 2 settings measured");
  });

  it("switches the axes", () => {
    chart.show(RUNS);
    click("Evaluations");
    expect(chart.plot.element.textContent).toContain("times fewer");
    expect(chart.costs.element.querySelector('[aria-pressed="true"]').textContent).toBe("Evaluations");
  });

  it("moves through the settings with the keyboard and offers what can be done", () => {
    chart.show(RUNS);
    expect(press("ArrowRight").defaultPrevented).toBe(true);
    expect(details()).toContain("fast (scope)\n10 of 50 evaluations, 5.00x fewer. Measured once: 2.0 s, 5.0x faster.");
    expect(chart.actions.textContent).toBe("");
    press("Enter");
    click("Apply");
    expect(callbacks.apply).toHaveBeenCalledWith(expect.objectContaining({ label: "fast" }), "7");
    chart.showCurrent(FAST);
    expect(details()).toBe("fast (scope), current setting\nDone.");
    click("Open A/B");
    expect(callbacks.openCompare).toHaveBeenCalledWith(BASELINE, FAST, RUNS);
    press("Escape");
    expect(chart.actions.textContent).toBe("");
  });

  it("says why something cannot be done", () => {
    callbacks.targets.mockReturnValue([]);
    chart.show({ ...RUNS, points: [BASELINE, { ...FAST, widgets: null, clip: null }] });
    press("ArrowRight");
    press("Enter");
    click("Apply");
    expect(details()).toContain("no sliders");
    click("Open A/B");
    expect(details()).toContain("VAE");
    expect(callbacks.apply).not.toHaveBeenCalled();
    expect(callbacks.openCompare).not.toHaveBeenCalled();
  });

  it("lets the user choose between several samplers", () => {
    callbacks.targets.mockReturnValue([{ id: "7", title: "One" }, { id: "8", title: "Two" }]);
    chart.show(RUNS);
    press("ArrowRight");
    press("Enter");
    const select = chart.actions.querySelector("select");
    select.value = "8";
    select.dispatchEvent(new Event("change"));
    click("Apply");
    expect(callbacks.apply.mock.calls[0][1]).toBe("8");
  });

  it("leaves keys alone that it has no use for", () => {
    chart.show(RUNS);
    expect(press("r").defaultPrevented).toBe(false);
    expect(press("Escape").defaultPrevented).toBe(false);
  });
});
