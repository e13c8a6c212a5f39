/** A clip and the canvas that shows its frames. */

import { contextOf } from "../lib/canvas.js";
import { create, setText } from "../lib/elements.js";
import { frameAt } from "./playback.js";

export class Pane {
  /** @type {VideoFrame|HTMLVideoElement|null} A picture that is not on the canvas yet. */
  image = null;
  /** The frame that was taken last. */
  frame = 0;
  video = create("video");
  canvas = create("canvas");
  label = create("span", "scope-compare-label");

  /** @param {string} className */
  constructor(className) {
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
    this.figure = create("div", `scope-compare-pane ${className}`, [this.video, this.canvas, this.label]);
  }

  /** Cut where it is too long, and whole in the tooltip. @param {string} text */
  name(text) {
    setText(this.label, text);
    this.label.title = text;
  }

  /** @param {(seconds: number) => void} callback */
  onNextFrame(callback) {
    const { video } = this;
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((_, { mediaTime }) => callback(mediaTime));
    else requestAnimationFrame(() => callback(video.currentTime));
  }

  /**
   * Hold the picture that the clip shows now. A VideoFrame knows its own time, the video may move on at any moment.
   *
   * @param {number} seconds
   * @param {import("./playback.js").Timing} timing
   */
  take(seconds, timing) {
    this.release();
    if (window.VideoFrame) {
      const image = new VideoFrame(this.video);
      this.image = image;
      this.frame = frameAt(image.timestamp / 1e6, timing);
    } else {
      this.image = this.video;
      this.frame = frameAt(seconds, timing);
    }
  }

  paint() {
    const { image, canvas, video } = this;
    if (!image) return;
    if (canvas.width !== video.videoWidth) canvas.width = video.videoWidth;
    if (canvas.height !== video.videoHeight) canvas.height = video.videoHeight;
    contextOf(canvas).drawImage(image, 0, 0);
    this.release();
  }

  release() {
    if (this.image && "close" in this.image) this.image.close();
    this.image = null;
  }
}
