// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { layoutCurve } from "../../web/quality/layout_curve.js";
import { describeFrame, summaryOf, valueText } from "../../web/quality/measurement.js";
import { QualityCurve } from "../../web/quality/quality.js";
import { Report } from "../../web/report/report.js";
import { stubPage } from "./page_stubs.js";

const PSNR = { label: "PSNR", unit: "dB", better: "higher", per_frame: [null, 40, 36.25, 44], mean: 40.08, worst: 36.25, worst_frame: 2 };
const SSIM = { ...PSNR, label: "SSIM", unit: "", per_frame: [1, 0.99, 0.98123, 0.995], mean: 0.9915, worst: 0.98123 };
const QUALITY = {
  format: "scope.quality",
  version: 1,
  frames: 4,
  fps: 8,
  chunks: [[0, 1], [1, 4]],
  metrics: { psnr: PSNR, ssim: SSIM },
  notes: ["LPIPS is missing."],
};
const SIZE = { width: 400, height: 200 };

beforeEach(stubPage);

describe("the numbers in words", () => {
  it("writes values with their unit", () => {
    expect(valueText(36.25, PSNR)).toBe("36.25 dB");
    expect(valueText(0.98123, SSIM)).toBe("0.9812");
    expect(valueText(null, PSNR)).toBe("identical");
  });

  it("sums up every metric", () => {
    expect(summaryOf(QUALITY)).toEqual([
      ["", "Mean", "Worst", "in frame"],
      ["PSNR (dB)", "40.08", "36.25", "2"],
      ["SSIM", "0.9915", "0.9812", "2"],
    ]);
  });

  it("names all values of a frame", () => {
    expect(describeFrame(QUALITY, 2)).toBe("Frame 2, 0.25 s, chunk 2 of 2\nPSNR 36.25 dB · SSIM 0.9812");
    expect(describeFrame(QUALITY, 0)).toContain("PSNR identical");
    expect(describeFrame({ ...QUALITY, chunks: [] }, 0)).toMatch(/^Frame 0, 0\.00 s\n/);
  });
});

describe("the curve", () => {
  it("puts identical frames on the upper edge, above all numbers", () => {
    const { plot, points } = layoutCurve(QUALITY, PSNR, SIZE);
    expect(points[0].y).toBe(plot.top);
    for (const { y } of points.slice(1)) expect(y).toBeGreaterThanOrEqual(plot.top + 16);
    expect(points[2].y).toBe(Math.max(...points.map(({ y }) => y)));
  });

  it("finds the frame under the pointer", () => {
    const { x, frameAt } = layoutCurve(QUALITY, PSNR, SIZE);
    for (let frame = 0; frame < 4; frame++) expect(frameAt(x(frame))).toBe(frame);
    expect(frameAt(-50)).toBe(0);
    expect(frameAt(5000)).toBe(3);
  });

  it("labels whole frames only", () => {
    expect(layoutCurve(QUALITY, PSNR, SIZE).xTicks).toEqual([0, 1, 2, 3]);
    const long = { ...QUALITY, frames: 257, chunks: [] };
    expect(layoutCurve(long, { ...PSNR, per_frame: Array(257).fill(40) }, SIZE).xTicks).toEqual([0, 50, 100, 150, 200, 250]);
    expect(layoutCurve({ ...QUALITY, frames: 1 }, { ...PSNR, per_frame: [40] }, SIZE).xTicks).toEqual([0]);
  });
});

describe("QualityCurve", () => {
  let curve;

  function press(key) {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    curve.plot.element.dispatchEvent(event);
    return event;
  }

  beforeEach(() => {
    curve = new QualityCurve();
    Object.defineProperties(curve.plot.element, { clientWidth: { value: SIZE.width }, clientHeight: { value: SIZE.height } });
    document.body.replaceChildren(curve.element);
  });

  it("invites to a first run while it is empty", () => {
    expect(curve.empty.textContent).toContain("Run the workflow");
    expect(curve.content.hidden).toBe(true);
  });

  it("shows the curve, the numbers, their meaning and the notes", () => {
    curve.show(QUALITY);
    expect(curve.plot.element.textContent).toContain("worst: 36.25 in frame 2");
    expect(curve.plot.element.textContent).toContain("mean 40.08");
    expect(curve.plot.element.textContent).toContain("identical");
    expect(curve.summary.textContent).toContain("SSIM");
    expect(curve.content.textContent).toContain("not always worse");
    expect(curve.notes.textContent).toBe("LPIPS is missing.");
  });

  it("changes the metric and keeps it for the next run", () => {
    curve.show(QUALITY);
    curve.metrics.value = "ssim";
    curve.metrics.dispatchEvent(new Event("change"));
    expect(curve.plot.element.textContent).toContain("SSIM, higher is better");
    curve.show(QUALITY);
    expect(curve.metrics.value).toBe("ssim");
    curve.show({ ...QUALITY, metrics: { psnr: PSNR } });
    expect(curve.metrics.value).toBe("psnr");
  });

  it("moves through the frames with the keyboard and stops at the ends", () => {
    curve.show(QUALITY);
    expect(press("ArrowRight").defaultPrevented).toBe(true);
    expect(curve.details.textContent).toMatch(/^Frame 1,/);
    press("End");
    press("ArrowRight");
    expect(curve.details.textContent).toMatch(/^Frame 3,/);
    expect(press("r").defaultPrevented).toBe(false);
  });

  it("draws a clip that is identical throughout", () => {
    const same = { ...PSNR, per_frame: [null, null, null, null], mean: null, worst: null, worst_frame: null };
    curve.show({ ...QUALITY, metrics: { psnr: same } });
    expect(curve.summary.textContent).toContain("identicalidentical");
    expect(curve.plot.element.textContent).not.toContain("worst");
  });

  it("says what is wrong with something else, and recovers", () => {
    curve.show({ format: "other" });
    expect(curve.empty.textContent).toBe("This is not a SCOPE quality measurement.");
    curve.show({ ...QUALITY, version: 9 });
    expect(curve.empty.textContent).toContain("Update SCOPE");
    curve.show(QUALITY);
    expect(curve.content.hidden).toBe(false);
  });

  it("exports a picture with its meaning", () => {
    curve.show(QUALITY);
    expect(curve.picture().textContent).toContain("PSNR: mean 40.08 dB, worst 36.25 dB");
    expect(curve.picture().textContent).toContain("not always worse");
  });
});

describe("Report", () => {
  const REPORT = {
    markdown: "# Report\n\n<b>not bold</b>",
    files: ["scope/report_00001.json", "scope/report_00001.html"],
    urls: [
      { filename: "report_00001.json", subfolder: "scope", type: "output" },
      { filename: "report_00001.html", subfolder: "scope", type: "output" },
    ],
  };
  let report;

  beforeEach(() => {
    vi.useFakeTimers();
    report = new Report({ viewUrl: ({ filename }) => `/view?filename=${filename}` });
    document.body.replaceChildren(report.element);
  });

  it("links the saved files and shows the text as it is", () => {
    report.show(REPORT);
    const links = [...report.files.querySelectorAll("a")];
    expect(links.map(({ textContent }) => textContent)).toEqual(REPORT.files);
    expect(links[1].getAttribute("href")).toBe("/view?filename=report_00001.html");
    expect(report.text.value).toBe(REPORT.markdown);
  });

  it("copies through the clipboard and says so", async () => {
    const writeText = vi.fn(() => Promise.resolve());
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    report.show(REPORT);
    await report.copy();
    expect(writeText).toHaveBeenCalledWith(REPORT.markdown);
    expect(report.copyButton.textContent).toBe("Copied");
    vi.advanceTimersByTime(3000);
    expect(report.copyButton.textContent).toBe("Copy as Markdown");
  });

  it.each([
    ["there is no clipboard", {}],
    ["the browser refuses it", { clipboard: { writeText: () => Promise.reject(new Error("not allowed")) } }],
  ])("copies through the selection where %s", async (_, navigator) => {
    vi.stubGlobal("navigator", navigator);
    document.execCommand = vi.fn(() => true);
    report.show(REPORT);
    await report.copy();
    expect(document.execCommand).toHaveBeenCalledWith("copy");
    expect(report.text.selectionEnd).toBe(REPORT.markdown.length);
    expect(report.copyButton.textContent).toBe("Copied");
  });

  it("invites to a first run, and says what is wrong with something else", () => {
    expect(report.empty.textContent).toContain("Run the workflow");
    report.show({ markdown: 3 });
    expect(report.empty.textContent).toBe("This is not a SCOPE report.");
  });
});
