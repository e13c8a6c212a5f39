// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { Compare } from "../../web/compare/compare.js";
import { curvePoints, describeFrame, describeGain } from "../../web/compare/comparison.js";
import { followingSpeed, frameAt, loopOf, startOf, timeOf } from "../../web/compare/playback.js";
import { Zoom } from "../../web/compare/zoom.js";
import { chunkAt } from "../../web/lib/clip.js";
import { stubPage } from "./page_stubs.js";

const CLIP = { fps: 24, frames: 61 };
const COMPARISON = {
  format: "scope.compare",
  version: 1,
  a: { filename: "a.mp4", subfolder: "", type: "temp" },
  b: { filename: "b.mp4", subfolder: "", type: "temp" },
  difference: { filename: "d.mp4", subfolder: "", type: "temp" },
  gain: 8,
  labels: ["reference", "fast"],
  width: 128,
  height: 64,
  chunks: [[0, 17], [17, 37], [37, 61]],
  psnr: Array.from({ length: 61 }, (_, frame) => (frame ? 30 + (frame % 10) : null)),
  ...CLIP,
};

describe("zoom", () => {
  const zoomOf = () => new Zoom(document.createElement("div"), vi.fn());

  it("keeps what is under the pointer where it is, and stays inside the picture", () => {
    const zoom = zoomOf();
    zoom.by(2, { x: 0.75, y: 0 });
    expect([zoom.factor, zoom.x, zoom.y]).toEqual([2, 0.375, 0]);
    zoom.pan(-0.5, 3);
    expect([zoom.x, zoom.y]).toEqual([0.5, 0]);
    expect(zoom.element.style.getPropertyValue("--zoom-x")).toBe("0.5");
    zoom.by(1 / 8);
    expect([zoom.factor, zoom.x, zoom.y]).toEqual([1, 0, 0]);
    expect(zoom.onChange).toHaveBeenCalledTimes(3);
  });
});

describe("frames and times", () => {
  it("seeks to the middle of a frame and finds every frame again", () => {
    for (const fps of [8, 16, 23.976, 24, 30]) {
      for (let frame = 0; frame < 61; frame++) {
        expect(frameAt(timeOf(frame, fps), { fps, frames: 61 })).toBe(frame);
        expect(frameAt(Math.floor((frame / fps) * 1e6) / 1e6, { fps, frames: 61 })).toBe(frame);
      }
    }
  });

  it("stays inside the clip", () => {
    expect(frameAt(-1, CLIP)).toBe(0);
    expect(frameAt(99, CLIP)).toBe(60);
  });

  it("knows the chunk of a frame", () => {
    expect([0, 16, 17, 60].map((frame) => chunkAt(frame, COMPARISON.chunks))).toEqual([0, 0, 1, 2]);
    expect(chunkAt(3, [])).toBe(-1);
  });

  it("starts over at the end of a loop and outside of it", () => {
    expect(loopOf(COMPARISON, null)).toEqual([0, 61]);
    expect(loopOf(COMPARISON, 1)).toEqual([17, 37]);
    expect([16, 17, 20, 36, 37].map((frame) => startOf(frame, [17, 37]))).toEqual([17, 17, 20, 17, 17]);
  });
});

describe("keeping in step", () => {
  it("slows down a clip that is ahead and speeds up one that lags", () => {
    expect(followingSpeed(0, 1, 24)).toBe(1);
    expect(followingSpeed(0.01, 1, 24)).toBeCloseTo(0.9);
    expect(followingSpeed(-0.01, 0.5, 24)).toBeCloseTo(0.6);
  });

  it("changes the speed by no more than an eye accepts, and asks for a jump beyond that", () => {
    expect(followingSpeed(0.1, 1, 24)).toBeCloseTo(0.7);
    expect(followingSpeed(0.2, 1, 24)).toBeNull();
    expect(followingSpeed(-0.2, 1, 24)).toBeNull();
  });
});

describe("words and curve", () => {
  it("names frame, time, chunk and PSNR", () => {
    expect(describeFrame(12, COMPARISON)).toBe("Frame 12 / 60 · 0.50 s · chunk 1 · 32.0 dB");
    expect(describeFrame(0, COMPARISON)).toContain("identical");
    expect(describeFrame(0, { ...CLIP, chunks: [], psnr: [] })).toBe("Frame 0 / 60 · 0.00 s");
  });

  it("says what the difference shows and where it is cut off", () => {
    expect(describeGain(16, 8)).toContain("times 16");
    expect(describeGain(16, 8)).not.toContain("look the same");
    expect(describeGain(2, 8)).toContain("above 32 of 255");
  });

  it("puts identical frames on the upper edge and the worst one at the bottom", () => {
    expect(curvePoints([null, 40, 30])).toBe("0.5,0.0000 1.5,0.1500 2.5,1.0000");
    expect(curvePoints([null])).toBe("0.5,0.0000");
    expect(curvePoints([33, 33])).toBe("0.5,0.1500 1.5,0.1500");
  });
});

/** jsdom has no player: this one seeks and reports frames when a test says so. */
class Player {
  seeking = false;
  readyState = 4;
  paused = true;
  time = 0;
  speed = 1;

  constructor(video) {
    this.video = video;
    const player = this;
    Object.defineProperties(video, {
      seeking: { get: () => player.seeking },
      readyState: { get: () => player.readyState },
      paused: { get: () => player.paused },
      ended: { value: false },
      videoWidth: { value: 128 },
      videoHeight: { value: 64 },
      playbackRate: { get: () => player.speed, set: (speed) => (player.speed = speed) },
      currentTime: {
        get: () => player.time,
        set(time) {
          player.time = time;
          player.seeking = true;
        },
      },
    });
    video.play = () => {
      this.paused = false;
      return Promise.resolve();
    };
    video.pause = () => (this.paused = true);
    video.requestVideoFrameCallback = (callback) => (this.callback = callback);
  }

  arrive() {
    this.seeking = false;
    this.video.dispatchEvent(new Event("seeked"));
  }

  present(frame) {
    const { callback } = this;
    this.callback = null;
    this.time = timeOf(frame, 24);
    callback?.(0, { mediaTime: frame / 24 });
  }
}

let compare;
let players;

function arrive() {
  for (let round = 0; round < 2; round++) for (const player of players) if (player.seeking) player.arrive();
}

function press(key, target = compare.stage.element) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  target.dispatchEvent(event);
  return event;
}

function button(label) {
  return [...compare.element.querySelectorAll("button")].find(({ textContent }) => textContent === label);
}

function frames() {
  return players.map(({ time }) => frameAt(time, CLIP));
}

beforeEach(() => {
  vi.useFakeTimers();
  stubPage();
  compare = new Compare({ viewUrl: ({ filename, type }) => `/view?filename=${filename}&type=${type}` });
  players = compare.stage.panes.map(({ video }) => new Player(video));
  document.body.replaceChildren(compare.element);
});

describe("Compare", () => {
  beforeEach(() => {
    compare.show(COMPARISON);
    compare.clips.align();
    arrive();
  });

  it("loads the three clips and names them", () => {
    expect(compare.stage.a.video.getAttribute("src")).toBe("/view?filename=a.mp4&type=temp");
    expect(compare.stage.difference.video.getAttribute("src")).toContain("d.mp4");
    expect(compare.stage.b.label.textContent).toBe("fast");
    expect(compare.stage.panes.every(({ video }) => video.muted && video.playsInline !== false)).toBe(true);
  });

  it("drags an enlarged picture as far as the pointer moves on a graph that is seen small", () => {
    const { stage } = compare;
    Object.defineProperties(stage.a.figure, { clientWidth: { value: 400 }, clientHeight: { value: 200 } });
    stage.a.figure.getBoundingClientRect = () => ({ left: 0, width: 200, height: 100 }); // half as large on the screen
    stage.zoom.by(2);
    stage.isPanning = true;
    stage.drag({ type: "pointermove", clientX: 0, movementX: -20, movementY: 0 }, false);
    expect(stage.zoom.x).toBeCloseTo(0.25 + 20 / 200 / 2);
  });

  it("steps all clips to the same frame", () => {
    press("ArrowRight");
    arrive();
    press("ArrowRight");
    arrive();
    press("ArrowLeft");
    arrive();
    expect(frames()).toEqual([1, 1, 1]);
    expect(compare.transport.readout.textContent).toContain("Frame 1 / 60");
    press("End");
    arrive();
    press("ArrowRight");
    arrive();
    expect(frames()).toEqual([60, 60, 60]);
  });

  it("meets the last of many wishes once the clips have arrived", () => {
    for (const frame of [3, 9, 27]) compare.clips.goTo(frame);
    expect(frames()).toEqual([3, 3, 3]);
    arrive();
    expect(frames()).toEqual([27, 27, 27]);
  });

  it("plays only after all clips stand on the same frame", () => {
    press(" ");
    players[0].arrive();
    expect(players[0].paused).toBe(true);
    players[1].arrive();
    players[2].arrive();
    expect(players.map(({ paused }) => paused)).toEqual([false, false, true]);
  });

  it("shows a frame only when both clips have it", () => {
    press(" ");
    arrive();
    players[0].present(1);
    expect(compare.clips.frame).toBe(0);
    players[1].present(1);
    expect(compare.clips.frame).toBe(1);
  });

  it("jumps when a clip falls too far behind", () => {
    press(" ");
    arrive();
    players[0].present(10);
    expect(frames()).toEqual([10, 10, 10]);
    expect(players[0].paused).toBe(true);
  });

  it("repeats a chunk", () => {
    compare.transport.chunkStrip.children[1].click();
    arrive();
    expect(frames()).toEqual([17, 17, 17]);
    press(" ");
    arrive();
    for (const player of players.slice(0, 2)) player.time = timeOf(36, 24);
    players[0].present(36);
    players[1].present(36);
    expect(compare.clips.frame).toBe(36);
    vi.advanceTimersByTime(50);
    arrive();
    expect(frames()).toEqual([17, 17, 17]);
    expect(players[0].paused).toBe(false);
  });

  it("chooses the chunk to repeat with buttons, too", () => {
    button("Loop clip").click();
    expect(compare.chunk).toBe(0);
    button("›").click();
    expect(compare.transport.loopButton.textContent).toBe("Loop chunk 2 of 3");
    button("‹").click();
    button("‹").click();
    expect(compare.chunk).toBe(0);
    compare.transport.loopButton.click();
    expect(compare.chunk).toBeNull();
  });

  it("moves the wipe with the keys of its handle, and plays with the space bar there", () => {
    press("ArrowRight", compare.stage.handle);
    expect(compare.stage.handle.getAttribute("aria-valuenow")).toBe("52");
    press("Home", compare.stage.handle);
    expect(compare.stage.wipe).toBe(0);
    expect(compare.clips.target).toBeNull();
    press(" ", compare.stage.handle);
    expect(compare.clips.isPlaying).toBe(true);
  });

  it("combines the gain of the clip with brightness", () => {
    button("Difference").click();
    compare.gain.value = "5";
    compare.gain.dispatchEvent(new Event("input"));
    expect(compare.stage.difference.canvas.style.filter).toBe("brightness(4)");
    expect(compare.note.textContent).toContain("times 32");
  });

  it("keeps its place when the same output arrives again", () => {
    compare.clips.goTo(5);
    arrive();
    compare.show(structuredClone(COMPARISON));
    expect(compare.clips.frame).toBe(5);
  });

  it("pauses when the node leaves the graph", () => {
    press(" ");
    arrive();
    compare.drawn.disconnect();
    expect(compare.clips.isPlaying).toBe(false);
    expect(players.every(({ paused }) => paused)).toBe(true);
  });

  it("takes no picture of clips that have left the page, or that others have taken the place of", () => {
    const taken = vi.spyOn(compare.stage.a, "take");
    compare.show({ ...COMPARISON, fps: 12 });
    players[0].present(1);
    compare.clips.align();
    arrive();
    const before = taken.mock.calls.length;
    compare.drawn.disconnect();
    players[0].present(2);
    expect([before, taken.mock.calls.length]).toEqual([1, 1]);
  });

  it("takes the picture of clips that left the page before they were loaded, once they are back", () => {
    const taken = vi.spyOn(compare.stage.a, "take");
    compare.show({ ...COMPARISON, fps: 12 });
    compare.drawn.disconnect();
    for (const player of players) player.arrive();
    expect(taken).not.toHaveBeenCalled();
    compare.drawn.connect();
    arrive();
    expect(taken).toHaveBeenCalledOnce();
  });

  it("asks for another run when the clips are gone, and shows them afterwards", () => {
    compare.stage.a.video.dispatchEvent(new Event("error"));
    expect(compare.empty.textContent).toContain("Run the workflow again");
    expect(press(" ").defaultPrevented).toBe(false);
    compare.show(COMPARISON);
    expect(compare.player.hidden).toBe(false);
  });

  it("stops playing when something else arrives", () => {
    press(" ");
    arrive();
    compare.clips.goTo(7);
    compare.show({ format: "other" });
    arrive();
    players[0].present(8);
    expect(compare.empty.textContent).toBe("This is not a SCOPE comparison.");
    expect(players.every(({ paused }) => paused)).toBe(true);
  });

  it("leaves keys alone that it has no use for", () => {
    expect(press("r").defaultPrevented).toBe(false);
    expect(press("ArrowLeft", compare.transport.speeds).defaultPrevented).toBe(false);
  });
});

describe("Compare without clips", () => {
  it("invites to a first run", () => {
    expect(compare.empty.textContent).toContain("Run the workflow");
    expect(compare.player.hidden).toBe(true);
  });

  it("says what is wrong with something that is not a comparison", () => {
    compare.show({ format: "other" });
    expect(compare.empty.textContent).toBe("This is not a SCOPE comparison.");
    compare.show({ ...COMPARISON, version: 2 });
    expect(compare.empty.textContent).toContain("Update SCOPE");
  });

  it("works without chunks and without PSNR", () => {
    const { psnr, ...bare } = COMPARISON;
    compare.show({ ...bare, chunks: [] });
    expect(compare.transport.loopButton.hidden).toBe(true);
    expect(compare.transport.curve.querySelector("polyline")).toBeNull();
  });
});
