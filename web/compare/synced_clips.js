/**
 * Clips that play in step. Browsers run every video by a clock of its own, so each one is copied to a canvas, and only once all of
 * them show the same frame.
 *
 * @typedef {import("./pane.js").Pane} Pane
 * @typedef {import("./playback.js").Loop} Loop
 * @typedef {import("./playback.js").Timing} Timing
 */

import { clamp } from "../lib/clamp.js";
import { followingSpeed, startOf, timeOf } from "./playback.js";

export class SyncedClips {
  isPlaying = false;
  frame = 0;
  speed = 1;
  /** @type {Timing} */
  timing = { fps: 1, frames: 1 };
  /** @type {Loop} */
  loop = [0, 1];
  /** @type {number|null} The frame that all clips are on their way to. */
  target = null;
  /** @type {number|null} The frame that the clips were last told to go to. */
  sought = null;
  /** Counts up whenever the clips stop. */
  run = 0;

  /**
   * @param {Pane[]} panes
   * @param {object} callbacks
   * @param {(frame: number) => void} callbacks.onFrame
   * @param {() => void} callbacks.onPlaying `isPlaying` changed.
   */
  constructor(panes, { onFrame, onPlaying }) {
    this.panes = panes;
    /** The clips in sight; the first of them leads. */
    this.visible = panes;
    this.onFrame = onFrame;
    this.onPlaying = onPlaying;
    for (const { video } of panes) {
      video.addEventListener("loadedmetadata", () => this.align());
      video.addEventListener("seeked", () => this.align());
      video.addEventListener("ended", () => this.repeat());
      video.addEventListener("pause", () => this.noticePause(video));
    }
  }

  /** What comes back to the page has its picture to take. */
  connect() {
    this.goTo(this.frame);
  }

  /** What left the page has no pictures to take. */
  disconnect() {
    this.pause();
    this.stop();
  }

  /** @param {string[]} urls One for each pane. @param {Timing} timing */
  load(urls, timing) {
    this.panes.forEach(({ video }, index) => (video.src = urls[index]));
    this.timing = timing;
    this.loop = [0, timing.frames];
    this.frame = 0;
    this.halt(0);
    this.sought = null;
  }

  /** Let the clips run only once all of them stand on the same frame. */
  play() {
    this.isPlaying = true;
    this.goTo(startOf(this.frame, this.loop));
    this.onPlaying();
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.goTo(this.frame);
    this.onPlaying();
  }

  togglePlay() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  /** Stay where the clips are. */
  stop() {
    this.isPlaying = false;
    this.halt(null);
  }

  /** @param {number} count */
  step(count) {
    this.pause();
    this.scrub(this.frame + count);
  }

  /** @param {number} frame Where there is none, the nearest. */
  scrub(frame) {
    this.goTo(clamp(Math.floor(frame), 0, this.timing.frames - 1));
  }

  /** @param {Pane[]} panes */
  setVisible(panes) {
    this.visible = panes;
    if (this.isPlaying) this.goTo(this.frame);
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    if (this.isPlaying) this.goTo(this.frame);
  }

  /** Bring all clips to a frame; a new wish while they are on the way is met next. @param {number} frame */
  goTo(frame) {
    this.halt(frame);
    this.showFrame(frame);
    this.align();
  }

  /** @param {number|null} target */
  halt(target) {
    this.target = target;
    this.run++;
    for (const { video } of this.panes) video.pause();
  }

  align() {
    const videos = this.panes.map(({ video }) => video);
    if (this.target === null || videos.some((video) => video.seeking || !video.readyState)) return;
    if (this.sought === this.target) {
      this.arrive(this.target);
    } else {
      this.sought = this.target;
      for (const video of videos) video.currentTime = timeOf(this.target, this.timing.fps);
    }
  }

  /** @param {number} frame */
  arrive(frame) {
    for (const pane of this.panes) {
      pane.take(pane.video.currentTime, this.timing);
      pane.paint();
      this.follow(pane, this.run);
    }
    this.showFrame(frame);
    this.target = this.sought = null;
    if (!this.isPlaying) return;
    for (const { video } of this.visible) {
      video.playbackRate = this.speed;
      video.play().catch(() => {}); // refused when a pause comes first
    }
  }

  /** Follow a clip frame by frame, until `run` changes. @param {Pane} pane @param {number} run */
  follow(pane, run) {
    pane.onNextFrame((seconds) => {
      if (run !== this.run) return;
      pane.take(seconds, this.timing);
      if (!this.isPlaying) return pane.paint();
      this.meet();
      this.follow(pane, run);
    });
  }

  /** Show the frame that all visible clips have reached, if there is one. */
  meet() {
    const [leader, ...followers] = this.visible;
    const last = this.loop[1] - 1;
    const together = followers.every(({ frame }) => frame === leader.frame);
    if (together && leader.frame <= last) {
      for (const pane of this.visible) pane.paint();
      this.showFrame(leader.frame);
    }
    if (leader.frame > last || (together && leader.frame === last)) this.repeat();
    else if (!this.keepInStep(leader, followers)) this.goTo(leader.frame);
  }

  /** @param {Pane} leader @param {Pane[]} followers @returns {boolean} False where one is too far away. */
  keepInStep(leader, followers) {
    for (const { video } of followers) {
      const speed = followingSpeed(video.currentTime - leader.video.currentTime, this.speed, this.timing.fps);
      if (speed === null) return false;
      video.playbackRate = speed;
    }
    return true;
  }

  /** The last frame stays for as long as any other, then the loop starts over. */
  repeat() {
    if (!this.isPlaying || this.target !== null) return;
    this.halt(this.loop[0]);
    setTimeout(() => this.align(), 1000 / this.timing.fps / this.speed);
  }

  /** The browser pauses a clip by itself when the node leaves the page. @param {HTMLVideoElement} video */
  noticePause(video) {
    if (video.paused && !video.ended && this.target === null && this.visible.some((pane) => pane.video === video)) this.pause();
  }

  /** @param {number} frame */
  showFrame(frame) {
    this.frame = frame;
    this.onFrame(frame);
  }
}
