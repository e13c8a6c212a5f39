/**
 * The widget that compares two clips: under a wipe, side by side, or as their difference.
 *
 * @typedef {import("./comparison.js").Comparison} Comparison
 * @typedef {import("../comfy_adapter.js").FileReference} FileReference
 */

import { ChoiceButtons } from "../lib/choice_buttons.js";
import { clamp } from "../lib/clamp.js";
import { chunkAt } from "../lib/clip.js";
import { button, create, panel, setText } from "../lib/elements.js";
import { hasModifier, onKey } from "../lib/input.js";
import { t } from "../lib/language.js";
import { readOrExplain } from "../lib/payload.js";
import { describeGain, parseComparison, warningOf } from "./comparison.js";
import { loopOf } from "./playback.js";
import { Stage } from "./stage.js";
import { SyncedClips } from "./synced_clips.js";
import { Transport } from "./transport.js";

const GAINS = [1, 2, 4, 8, 16, 32];
const FIRST_GAIN = 8;
const ZOOM_STEP = 2;

export class Compare {
  /** @type {Comparison|null} */
  comparison = null;
  /** The payload that is shown, as text. */
  shown = "";
  mode = "";
  /** @type {number|null} The chunk that is repeated; null for the whole clip. */
  chunk = null;

  modes = new ChoiceButtons("scope-compare-group", t("How the clips are compared"), (mode) => this.setMode(mode));
  gain = create("input");
  gainValue = create("span", "scope-compare-number");
  stage = new Stage(() => this.mode === "wipe", () => this.showZoom());
  zoomValue = button("", t("Show the whole picture"), () => this.stage.zoom.reset());
  view = create("div", "scope-compare-group scope-compare-view", [
    button("−", t("Show more of the picture (Shift and wheel)"), () => this.stage.zoom.by(1 / ZOOM_STEP)),
    this.zoomValue,
    button("+", t("Enlarge (Shift and wheel); drag to move the picture"), () => this.stage.zoom.by(ZOOM_STEP)),
    button(t("Full screen"), t("Full screen, and back (F)"), () => this.toggleFullScreen()),
  ]);
  note = create("div", "scope-compare-note");
  warning = create("div", "scope-compare-warning");
  clips = new SyncedClips(this.stage.panes, {
    onFrame: (frame) => this.comparison && this.transport.showFrame(frame, this.comparison),
    onPlaying: () => this.transport.showPlaying(this.clips.isPlaying),
  });
  drawn = this.clips;
  transport = new Transport({
    step: (count) => this.clips.step(count),
    togglePlay: () => this.clips.togglePlay(),
    scrub: (share) => this.clips.scrub(share * this.clips.timing.frames),
    chooseChunk: (chunk) => this.setChunk(this.chunk === chunk ? null : chunk),
    toggleLoop: () => this.setChunk(this.chunk === null ? Math.max(this.currentChunk, 0) : null),
    moveChunk: (count) => this.moveChunk(count),
    setSpeed: (speed) => this.clips.setSpeed(speed),
  });
  empty = create("div", "scope-panel-empty");

  /** @param {{viewUrl: (file: FileReference) => string}} options */
  constructor({ viewUrl }) {
    this.viewUrl = viewUrl;
    Object.assign(this.gain, { type: "range", min: 0, max: GAINS.length - 1, step: 1 });
    this.gain.setAttribute("aria-label", t("Amplification of the difference"));
    const gainControl = create("label", "scope-compare-gain", [t("Gain"), this.gain, this.gainValue]);
    const top = create("div", "scope-compare-row", [this.modes.element, gainControl, this.view]);
    this.player = create("div", "scope-compare-player", [top, this.warning, this.stage.element, this.note, ...this.transport.parts]);
    this.element = panel("scope-compare", [this.player, this.empty]);

    this.gain.addEventListener("input", () => this.setGain(GAINS[Number(this.gain.value)]));
    onKey(this.element, (event) => this.handleKey(event));
    for (const { video } of this.stage.panes) video.addEventListener("error", () => this.comparison && this.fail(goneText()));
    this.setMode("wipe");
    this.showZoom();
    this.setGain(FIRST_GAIN);
    this.refresh();
  }

  focus() {
    this.stage.element.focus();
  }

  /** @param {unknown} payload Showing the same comparison again changes nothing. */
  show(payload) {
    const text = JSON.stringify(payload);
    if (text === this.shown) return;
    const { value: comparison, problem } = readOrExplain(() => parseComparison(payload));
    if (!comparison) return this.fail(problem);
    this.shown = text;
    this.comparison = comparison;
    this.chunk = null;
    this.clips.isPlaying = false;
    this.clips.load([comparison.a, comparison.b, comparison.difference].map(this.viewUrl), comparison);
    this.refresh();
  }

  /** @param {string} sentence */
  fail(sentence) {
    this.shown = "";
    this.clips.stop();
    this.comparison = null;
    this.refresh(sentence);
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const { key, shiftKey } = event;
    const target = /** @type {Element} */ (event.target);
    if (!this.comparison || hasModifier(event) || target.matches("select, input")) return false;
    const stride = shiftKey ? 10 : 1;
    if (key === "ArrowLeft") this.clips.step(-stride);
    else if (key === "ArrowRight") this.clips.step(stride);
    else if (key === "Home") this.clips.goTo(0);
    else if (key === "End") this.clips.goTo(this.comparison.frames - 1);
    else if (key === "f") this.toggleFullScreen();
    else if (key === " " && !target.matches("button")) this.clips.togglePlay();
    else return false;
    return true;
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen();
  }

  showZoom() {
    setText(this.zoomValue, `${Math.round(100 * this.stage.zoom.factor)}%`);
  }

  /** @param {string} mode */
  setMode(mode) {
    const { a, b, difference } = this.stage;
    this.mode = mode;
    this.element.dataset.mode = mode;
    this.modes.show(modes(), mode);
    this.clips.setVisible(mode === "difference" ? [difference] : [a, b]);
  }

  /** @param {number} gain */
  setGain(gain) {
    const builtIn = this.comparison?.gain ?? gain;
    this.gain.value = String(GAINS.indexOf(gain));
    this.gain.setAttribute("aria-valuetext", t("times {gain}", { gain }));
    setText(this.gainValue, `x${gain}`);
    setText(this.note, describeGain(gain, builtIn));
    this.stage.difference.canvas.style.filter = `brightness(${gain / builtIn})`;
  }

  get currentChunk() {
    return chunkAt(this.clips.frame, this.comparison?.chunks ?? []);
  }

  /** @param {number} count */
  moveChunk(count) {
    const last = (this.comparison?.chunks.length ?? 1) - 1;
    this.setChunk(clamp((this.chunk ?? this.currentChunk) + count, 0, last));
  }

  /** @param {number|null} chunk */
  setChunk(chunk) {
    if (!this.comparison) return;
    const staysInside = chunk === null || this.currentChunk === chunk;
    this.chunk = chunk;
    this.clips.loop = loopOf(this.comparison, chunk);
    this.clips.goTo(staysInside ? this.clips.frame : this.clips.loop[0]);
    this.transport.showLoop(this.comparison, chunk);
  }

  refresh(problem = "") {
    const { comparison } = this;
    this.player.hidden = !comparison;
    this.empty.hidden = Boolean(comparison);
    setText(this.empty, problem || t("Run the workflow to play both clips in step: under a wipe, side by side, or as their difference."));
    if (!comparison) return;
    setText(this.warning, warningOf(comparison.unlike));
    this.stage.show(comparison);
    this.setGain(GAINS[Number(this.gain.value)]);
    this.transport.show(comparison);
    this.transport.showFrame(this.clips.frame, comparison);
    this.transport.showLoop(comparison, this.chunk);
    this.transport.showPlaying(this.clips.isPlaying);
  }
}

function modes() {
  return [
    { name: "wipe", label: t("Wipe"), title: t("A left of the handle, B right of it") },
    { name: "side", label: t("Side by side"), title: t("A on the left, B on the right") },
    { name: "difference", label: t("Difference"), title: t("Where the two differ, amplified") },
  ];
}

function goneText() {
  return t("The clips are gone, because ComfyUI empties its temp folder when it starts. Run the workflow again to see them.");
}
