/**
 * The controls under a comparison: chunks, the bar with the PSNR of every frame, and the buttons.
 *
 * @typedef {import("./comparison.js").Comparison} Comparison
 *
 * @typedef {object} Player What the controls move.
 * @property {(count: number) => void} step
 * @property {() => void} togglePlay
 * @property {(share: number) => void} scrub To a part of the whole clip.
 * @property {(chunk: number) => void} chooseChunk
 * @property {() => void} toggleLoop
 * @property {(count: number) => void} moveChunk
 * @property {(speed: number) => void} setSpeed
 */

import { button, create, createSvg, makeSlider, selectBox, setPressed, setText } from "../lib/elements.js";
import { rangeText } from "../lib/formats.js";
import { followDrag, shareAcross } from "../lib/input.js";
import { t } from "../lib/language.js";
import { curvePoints, describeFrame, psnrRange } from "./comparison.js";
import { loopOf } from "./playback.js";

const SPEEDS = [1, 0.5, 0.25];
const ICONS = {
  play: "M4 2l10 6-10 6z",
  pause: "M4 2h3v12H4zM9 2h3v12H9z",
  back: "M12 2v12L5 8zM3 2h2v12H3z",
  forward: "M4 2v12l7-6zM11 2h2v12h-2z",
};

export class Transport {
  chunkStrip = create("div", "scope-compare-chunks");
  loopMark = create("div", "scope-compare-loop");
  curve = createSvg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
  playhead = create("div", "scope-compare-playhead");
  bar = create("div", "scope-compare-bar", [this.loopMark, this.curve, this.playhead]);
  readout = create("span", "scope-compare-number scope-compare-readout");

  /** @param {Player} player */
  constructor(player) {
    this.player = player;
    makeSlider(this.bar, t("Frame"), 0);
    followDrag(this.bar, (event) => player.scrub(shareAcross(event, this.bar)));
    this.playButton = button("", "", () => player.togglePlay());
    this.loopButton = button("", t("Repeat one chunk, or the whole clip"), () => player.toggleLoop());
    this.chunkButtons = [
      button("‹", t("Repeat the chunk before"), () => player.moveChunk(-1)),
      this.loopButton,
      button("›", t("Repeat the next chunk"), () => player.moveChunk(1)),
    ];
    this.speeds = selectBox(t("Speed"), SPEEDS.map((speed) => [String(speed), `${speed}x`]), (speed) => player.setSpeed(Number(speed)));
    const steps = [
      button(icon("back"), t("One frame back (left arrow)"), () => player.step(-1)),
      this.playButton,
      button(icon("forward"), t("One frame on (right arrow)"), () => player.step(1)),
    ];
    const buttons = create("div", "scope-compare-row", [
      create("div", "scope-compare-group", steps),
      create("div", "scope-compare-group", this.chunkButtons),
      this.speeds,
    ]);
    this.parts = [this.chunkStrip, this.bar, this.readout, buttons];
  }

  /** @param {Comparison} comparison */
  show({ frames, chunks, psnr }) {
    this.bar.setAttribute("aria-valuemax", String(frames - 1));
    this.curve.setAttribute("viewBox", `0 0 ${frames} 1`);
    const borders = chunks.slice(1).map(([from]) => createSvg("line", { x1: from, x2: from, y1: 0, y2: 1 }));
    const curve = psnr.length ? [createSvg("polyline", { points: curvePoints(psnr) })] : [];
    this.curve.replaceChildren(...borders, ...curve);
    const [low, high] = psnrRange(psnr);
    this.bar.title = Number.isFinite(low) ? t("PSNR of every frame, {low} to {high} dB", { low: low.toFixed(1), high: high.toFixed(1) }) : "";
    this.chunkStrip.replaceChildren(...chunks.map(([from, to], index) => this.chunkButton(from, to, index)));
    for (const part of [this.chunkStrip, ...this.chunkButtons]) part.hidden = !chunks.length;
  }

  /** Not a tab stop: the buttons below do the same. @param {number} from @param {number} to @param {number} index */
  chunkButton(from, to, index) {
    const place = { number: index + 1, frames: rangeText(from, to) };
    const title = t("Chunk {number}, frames {frames}: click to repeat it, again for the whole clip", place);
    const element = button(String(index + 1), title, () => this.player.chooseChunk(index));
    element.tabIndex = -1;
    element.style.flexGrow = String(to - from);
    return element;
  }

  /** @param {number} frame @param {Comparison} comparison */
  showFrame(frame, comparison) {
    const text = describeFrame(frame, comparison);
    setText(this.readout, text);
    this.bar.setAttribute("aria-valuenow", String(frame));
    this.bar.setAttribute("aria-valuetext", text);
    this.playhead.style.left = `${(100 * (frame + 0.5)) / comparison.frames}%`;
  }

  /** @param {Comparison} comparison @param {number|null} chunk That is repeated; null for the whole clip. */
  showLoop(comparison, chunk) {
    const { chunks, frames } = comparison;
    const [from, to] = loopOf(comparison, chunk);
    this.loopMark.style.left = `${(100 * from) / frames}%`;
    this.loopMark.style.width = `${(100 * (to - from)) / frames}%`;
    this.loopMark.hidden = chunk === null;
    setPressed(this.chunkStrip.children, chunk);
    const repeated = chunk === null ? t("Loop clip") : t("Loop chunk {number} of {count}", { number: chunk + 1, count: chunks.length });
    setText(this.loopButton, repeated);
  }

  /** @param {boolean} isPlaying */
  showPlaying(isPlaying) {
    const action = isPlaying ? t("Pause") : t("Play");
    this.playButton.replaceChildren(icon(isPlaying ? "pause" : "play"));
    this.playButton.title = isPlaying ? t("Pause (space)") : t("Play (space)");
    this.playButton.setAttribute("aria-label", action);
  }
}

/** @param {keyof typeof ICONS} name */
function icon(name) {
  return createSvg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, [createSvg("path", { d: ICONS[name] })]);
}
