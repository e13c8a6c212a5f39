/**
 * Two clips played in step: under a wipe, side by side, or as their difference.
 * Browsers run every video by a clock of its own, so each one is copied to a canvas, and only once all of them show the same frame.
 *
 * @typedef {import("./playback.js").Comparison} Comparison
 * @typedef {import("./playback.js").FileReference} FileReference
 */

import { button, create, createSvg, selectBox, setText } from "./elements.js";
import { PayloadError } from "./payload.js";
import {
  GAINS,
  SPEEDS,
  chunkAt,
  clamp,
  curvePoints,
  describeFrame,
  describeGain,
  followingSpeed,
  frameAt,
  loopOf,
  parseComparison,
  psnrRange,
  startOf,
  timeOf,
} from "./playback.js";

const EMPTY_TEXT = "Run the workflow to play both clips in step: under a wipe, side by side, or as their difference.";
const GONE_TEXT = "The clips are gone, because ComfyUI empties its temp folder when it starts. Run the workflow again to see them.";
const MODES = [
  ["wipe", "Wipe", "A left of the handle, B right of it"],
  ["side", "Side by side", "A on the left, B on the right"],
  ["difference", "Difference", "Where the two differ, amplified"],
];
const ICONS = {
  play: "M4 2l10 6-10 6z",
  pause: "M4 2h3v12H4zM9 2h3v12H9z",
  back: "M12 2v12L5 8zM3 2h2v12H3z",
  forward: "M4 2v12l7-6zM11 2h2v12h-2z",
};
const LARGEST_CRISP_WIDTH = 256;
const WIPE_STEP = 0.02;

export class Compare {
  /** @type {Comparison|null} */
  comparison = null;
  shown = "";
  mode = "wipe";
  playing = false;
  frame = 0;
  speed = 1;
  /** @type {number|null} The chunk that is repeated; null for the whole clip. */
  chunk = null;
  /** @type {number|null} The frame that all clips are on their way to. */
  target = null;
  /** @type {number|null} The frame that the clips were last told to go to. */
  sought = null;
  run = 0;

  /** @param {{viewUrl: (file: FileReference) => string}} options */
  constructor({ viewUrl }) {
    this.viewUrl = viewUrl;
    this.build();
    this.listen();
    this.setMode("wipe");
    this.setWipe(0.5);
    this.setGain(8);
    this.refresh();
  }

  connect() {}

  disconnect() {
    this.pause();
  }

  /** @param {unknown} payload Showing the same comparison again changes nothing. */
  show(payload) {
    const text = JSON.stringify(payload);
    if (text === this.shown) return;
    this.shown = text;
    this.playing = false;
    try {
      this.comparison = parseComparison(payload);
      this.load();
      this.refresh();
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      this.fail(error.message);
    }
  }

  fail(sentence) {
    this.shown = "";
    this.playing = false;
    this.halt(null);
    this.comparison = null;
    this.refresh(sentence);
  }

  build() {
    this.modes = create("div", "scope-compare-group", MODES.map(([mode, label, title]) => button(label, title, () => this.setMode(mode))));
    this.modes.setAttribute("role", "group");
    this.modes.setAttribute("aria-label", "How the clips are compared");
    this.gain = create("input");
    Object.assign(this.gain, { type: "range", min: 0, max: GAINS.length - 1, step: 1 });
    this.gain.setAttribute("aria-label", "Amplification of the difference");
    this.gainValue = create("span", "scope-compare-number");
    this.gainControl = create("label", "scope-compare-gain", ["Gain", this.gain, this.gainValue]);
    this.top = create("div", "scope-compare-row", [this.modes, this.gainControl]);

    this.a = pane("scope-compare-a");
    this.b = pane("scope-compare-b");
    this.difference = pane("scope-compare-difference");
    this.panes = [this.a, this.b, this.difference];
    this.handle = create("div", "scope-compare-handle");
    makeSlider(this.handle, "Wipe position", 100);
    this.stage = create("div", "scope-compare-stage", [...this.panes.map(({ figure }) => figure), this.handle]);
    this.stage.tabIndex = -1;
    this.note = create("div", "scope-compare-note");

    this.curve = createSvg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
    this.loopMark = create("div", "scope-compare-loop");
    this.playhead = create("div", "scope-compare-playhead");
    this.bar = create("div", "scope-compare-bar", [this.loopMark, this.curve, this.playhead]);
    makeSlider(this.bar, "Frame", 0);
    this.chunkStrip = create("div", "scope-compare-chunks");

    this.playButton = button("", "", () => this.togglePlay());
    const steps = [
      button(icon("back"), "One frame back (left arrow)", () => this.step(-1)),
      this.playButton,
      button(icon("forward"), "One frame on (right arrow)", () => this.step(1)),
    ];
    this.loopButton = button("", "Repeat one chunk, or the whole clip", () => this.toggleChunk());
    this.chunkButtons = [
      button("‹", "Repeat the chunk before", () => this.moveChunk(-1)),
      this.loopButton,
      button("›", "Repeat the next chunk", () => this.moveChunk(1)),
    ];
    this.speeds = selectBox("Speed", SPEEDS.map((speed) => [String(speed), `${speed}x`]), (speed) => this.setSpeed(Number(speed)));
    this.readout = create("span", "scope-compare-number scope-compare-readout");
    const transport = create("div", "scope-compare-row", [
      create("div", "scope-compare-group", steps),
      create("div", "scope-compare-group", this.chunkButtons),
      this.speeds,
    ]);

    const parts = [this.top, this.stage, this.note, this.chunkStrip, this.bar, this.readout, transport];
    this.player = create("div", "scope-compare-player", parts);
    this.empty = create("div", "scope-panel-empty");
    const body = create("div", "scope-panel-body", [this.player, this.empty]);
    this.element = create("div", "scope-panel scope-compare", [body]);
  }

  listen() {
    for (const { video } of this.panes) {
      video.addEventListener("loadedmetadata", () => this.align());
      video.addEventListener("seeked", () => this.align());
      video.addEventListener("ended", () => this.repeat());
      video.addEventListener("pause", () => this.noticePause(video));
      video.addEventListener("error", () => this.comparison && this.fail(GONE_TEXT));
    }
    this.gain.addEventListener("input", () => this.setGain(GAINS[this.gain.value]));
    followDrag(this.stage, (event) => this.mode === "wipe" && this.setWipe(shareOf(event, this.a.figure)));
    followDrag(this.bar, (event) => this.scrub(shareOf(event, this.bar)));
    this.handle.addEventListener("keydown", (event) => handle(event, this.handleWipeKey(event)));
    this.element.addEventListener("keydown", (event) => handle(event, this.handleKey(event)));
  }

  handleWipeKey({ key, shiftKey }) {
    const step = WIPE_STEP * (shiftKey ? 5 : 1);
    const places = { ArrowLeft: this.wipe - step, ArrowRight: this.wipe + step, Home: 0, End: 1 };
    if (!(key in places)) return false;
    this.setWipe(places[key]);
    return true;
  }

  handleKey({ key, target, shiftKey, ctrlKey, metaKey, altKey }) {
    if (!this.comparison || ctrlKey || metaKey || altKey || target.matches("select, input")) return false;
    const stride = shiftKey ? 10 : 1;
    if (key === "ArrowLeft") this.step(-stride);
    else if (key === "ArrowRight") this.step(stride);
    else if (key === "Home") this.goTo(0);
    else if (key === "End") this.goTo(this.comparison.frames - 1);
    else if (key === " " && !target.matches("button")) this.togglePlay();
    else return false;
    return true;
  }

  /** The clips in sight; the first of them leads. */
  get visible() {
    return this.mode === "difference" ? [this.difference] : [this.a, this.b];
  }

  get loop() {
    return loopOf(this.comparison, this.chunk);
  }

  load() {
    const { comparison } = this;
    this.a.video.src = this.viewUrl(comparison.a);
    this.b.video.src = this.viewUrl(comparison.b);
    this.difference.video.src = this.viewUrl(comparison.difference);
    this.chunk = null;
    this.target = this.frame = 0;
    this.sought = null;
  }

  /** Let the clips run only once all of them stand on the same frame. */
  play() {
    this.playing = true;
    this.goTo(startOf(this.frame, this.loop));
    this.showTransport();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.goTo(this.frame);
    this.showTransport();
  }

  togglePlay() {
    if (this.playing) this.pause();
    else this.play();
  }

  step(count) {
    this.pause();
    this.goTo(clamp(this.frame + count, 0, this.comparison.frames - 1));
  }

  scrub(share) {
    this.goTo(clamp(Math.floor(share * this.comparison.frames), 0, this.comparison.frames - 1));
  }

  /** Bring all clips to a frame; a new wish while they are on the way is met next. */
  goTo(frame) {
    this.halt(frame);
    this.showFrame(frame);
    this.align();
  }

  halt(frame) {
    this.target = frame;
    this.run++;
    for (const { video } of this.panes) video.pause();
  }

  align() {
    const videos = this.panes.map(({ video }) => video);
    if (this.target === null || videos.some((video) => video.seeking || !video.readyState)) return;
    if (this.sought === this.target) {
      this.arrive();
    } else {
      this.sought = this.target;
      for (const video of videos) video.currentTime = timeOf(this.target, this.comparison.fps);
    }
  }

  arrive() {
    for (const pane of this.panes) {
      this.take(pane, pane.video.currentTime);
      paint(pane);
      this.watch(pane, this.run);
    }
    this.showFrame(this.target);
    this.target = this.sought = null;
    if (!this.playing) return;
    for (const { video } of this.visible) {
      video.playbackRate = this.speed;
      video.play().catch(() => {}); // refused when a pause comes first
    }
  }

  /** Follow a clip frame by frame, until `run` changes. */
  watch(pane, run) {
    onNextFrame(pane.video, (seconds) => {
      if (run !== this.run) return;
      this.take(pane, seconds);
      if (!this.playing) return paint(pane);
      this.meet();
      this.watch(pane, run);
    });
  }

  /** Hold the picture that a clip shows now. A VideoFrame knows its own time, the video may move on at any moment. */
  take(pane, seconds) {
    release(pane);
    pane.image = window.VideoFrame ? new VideoFrame(pane.video) : pane.video;
    const { timestamp = seconds * 1e6 } = pane.image;
    pane.frame = frameAt(timestamp / 1e6, this.comparison);
  }

  /** Show the frame that all visible clips have reached, if there is one. */
  meet() {
    const [leader, ...followers] = this.visible;
    const last = this.loop[1] - 1;
    const together = followers.every(({ frame }) => frame === leader.frame);
    if (together && leader.frame <= last) {
      this.visible.forEach(paint);
      this.showFrame(leader.frame);
    }
    if (leader.frame > last || (together && leader.frame === last)) this.repeat();
    else if (!this.keepInStep(leader, followers)) this.goTo(leader.frame);
  }

  keepInStep(leader, followers) {
    for (const { video } of followers) {
      const speed = followingSpeed(video.currentTime - leader.video.currentTime, this.speed, this.comparison.fps);
      if (speed === null) return false;
      video.playbackRate = speed;
    }
    return true;
  }

  /** The last frame stays for as long as any other, then the loop starts over. */
  repeat() {
    if (!this.playing || this.target !== null) return;
    this.halt(this.loop[0]);
    setTimeout(() => this.align(), 1000 / this.comparison.fps / this.speed);
  }

  /** The browser pauses a clip by itself when the node leaves the page. */
  noticePause(video) {
    if (video.paused && !video.ended && this.target === null && this.visible.some((pane) => pane.video === video)) this.pause();
  }

  setMode(mode) {
    this.mode = mode;
    this.element.dataset.mode = mode;
    MODES.forEach(([name], index) => this.modes.children[index].setAttribute("aria-pressed", String(name === mode)));
    if (this.playing) this.goTo(this.frame);
  }

  setWipe(share) {
    this.wipe = clamp(share, 0, 1);
    this.stage.style.setProperty("--wipe", String(this.wipe));
    this.handle.setAttribute("aria-valuenow", String(Math.round(100 * this.wipe)));
  }

  setGain(gain) {
    const builtIn = this.comparison?.gain ?? gain;
    this.gain.value = String(GAINS.indexOf(gain));
    this.gain.setAttribute("aria-valuetext", `times ${gain}`);
    setText(this.gainValue, `x${gain}`);
    setText(this.note, describeGain(gain, builtIn));
    this.difference.canvas.style.filter = `brightness(${gain / builtIn})`;
  }

  setSpeed(speed) {
    this.speed = speed;
    if (this.playing) this.goTo(this.frame);
  }

  /** @param {number|null} chunk */
  setChunk(chunk) {
    this.chunk = chunk;
    const [from] = this.loop;
    this.goTo(chunk === null || chunkAt(this.frame, this.comparison.chunks) === chunk ? this.frame : from);
    this.showTransport();
  }

  toggleChunk() {
    this.setChunk(this.chunk === null ? Math.max(chunkAt(this.frame, this.comparison.chunks), 0) : null);
  }

  moveChunk(count) {
    const current = this.chunk ?? chunkAt(this.frame, this.comparison.chunks);
    this.setChunk(clamp(current + count, 0, this.comparison.chunks.length - 1));
  }

  refresh(problem = "") {
    const { comparison } = this;
    this.player.hidden = !comparison;
    this.empty.hidden = Boolean(comparison);
    this.empty.textContent = problem || EMPTY_TEXT;
    if (!comparison) return;
    this.stage.style.setProperty("--aspect", String(comparison.width / comparison.height));
    this.stage.classList.toggle("scope-compare-crisp", comparison.width <= LARGEST_CRISP_WIDTH);
    setText(this.a.label, comparison.labels[0]);
    setText(this.b.label, comparison.labels[1]);
    setText(this.difference.label, `${comparison.labels[0]} − ${comparison.labels[1]}`);
    this.bar.setAttribute("aria-valuemax", String(comparison.frames - 1));
    this.setGain(GAINS[this.gain.value]);
    this.drawBar();
    this.showFrame(this.frame);
    this.showTransport();
  }

  drawBar() {
    const { frames, chunks, psnr } = this.comparison;
    this.curve.setAttribute("viewBox", `0 0 ${frames} 1`);
    const borders = chunks.slice(1).map(([from]) => createSvg("line", { x1: from, x2: from, y1: 0, y2: 1 }));
    const curve = psnr.length ? [createSvg("polyline", { points: curvePoints(psnr) })] : [];
    this.curve.replaceChildren(...borders, ...curve);
    const [low, high] = psnrRange(psnr);
    this.bar.title = Number.isFinite(low) ? `PSNR of every frame, ${low.toFixed(1)} to ${high.toFixed(1)} dB` : "";
    this.chunkStrip.replaceChildren(...chunks.map((range, index) => this.chunkButton(range, index)));
    for (const part of [this.chunkStrip, ...this.chunkButtons]) part.hidden = !chunks.length;
  }

  /** Not a tab stop: the buttons below do the same. */
  chunkButton([from, to], index) {
    const title = `Chunk ${index + 1}, frames ${from}–${to - 1}: click to repeat it, again for the whole clip`;
    const element = button(String(index + 1), title, () => this.setChunk(this.chunk === index ? null : index));
    element.tabIndex = -1;
    element.style.flexGrow = String(to - from);
    return element;
  }

  showFrame(frame) {
    this.frame = frame;
    if (!this.comparison) return;
    const text = describeFrame(frame, this.comparison);
    setText(this.readout, text);
    this.bar.setAttribute("aria-valuenow", String(frame));
    this.bar.setAttribute("aria-valuetext", text);
    this.playhead.style.left = `${(100 * (frame + 0.5)) / this.comparison.frames}%`;
  }

  showTransport() {
    if (!this.comparison) return;
    const { chunks, frames } = this.comparison;
    const [from, to] = this.loop;
    this.loopMark.style.left = `${(100 * from) / frames}%`;
    this.loopMark.style.width = `${(100 * (to - from)) / frames}%`;
    this.loopMark.hidden = this.chunk === null;
    [...this.chunkStrip.children].forEach((entry, index) => entry.setAttribute("aria-pressed", String(index === this.chunk)));
    setText(this.loopButton, this.chunk === null ? "Loop clip" : `Loop chunk ${this.chunk + 1} of ${chunks.length}`);
    this.playButton.replaceChildren(icon(this.playing ? "pause" : "play"));
    this.playButton.title = this.playing ? "Pause (space)" : "Play (space)";
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }
}

function pane(className) {
  const video = create("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
  const canvas = create("canvas");
  const label = create("span", "scope-compare-label");
  return { video, canvas, label, image: null, frame: 0, figure: create("div", `scope-compare-pane ${className}`, [video, canvas, label]) };
}

function paint(pane) {
  const { image, canvas, video } = pane;
  if (!image) return; // it is on the canvas already
  if (canvas.width !== video.videoWidth) canvas.width = video.videoWidth;
  if (canvas.height !== video.videoHeight) canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  release(pane);
}

function release(pane) {
  pane.image?.close?.();
  pane.image = null;
}

function icon(name) {
  return createSvg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, [createSvg("path", { d: ICONS[name] })]);
}

function makeSlider(element, label, most) {
  element.tabIndex = 0;
  element.setAttribute("role", "slider");
  element.setAttribute("aria-label", label);
  element.setAttribute("aria-valuemin", "0");
  element.setAttribute("aria-valuemax", String(most));
}

/** How far across an element the pointer is; boxes on screen may be scaled. */
function shareOf(event, element) {
  const { left, width } = element.getBoundingClientRect();
  return (event.clientX - left) / width;
}

function followDrag(element, onMove) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    onMove(event);
  });
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && onMove(event));
}

function onNextFrame(video, callback) {
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((now, { mediaTime }) => callback(mediaTime));
  else requestAnimationFrame(() => callback(video.currentTime));
}

function handle(event, handled) {
  if (!handled) return;
  event.preventDefault();
  event.stopPropagation();
}
