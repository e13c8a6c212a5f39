/** The part of the pictures that is looked at, the same in each of them; see compare.css. */

import { clamp } from "../lib/clamp.js";

const LARGEST = 16;

export class Zoom {
  factor = 1;
  /** Upper left corner of the part, as shares of the picture. */
  x = 0;
  y = 0;

  /** @param {HTMLElement} element Around the pictures. @param {() => void} onChange */
  constructor(element, onChange) {
    this.element = element;
    this.onChange = onChange;
  }

  /** Keep what is at a place where it is. @param {number} times @param {{x: number, y: number}} [at] As shares of what is seen. */
  by(times, at = { x: 0.5, y: 0.5 }) {
    const factor = clamp(this.factor * times, 1, LARGEST);
    this.set(factor, this.x + at.x / this.factor - at.x / factor, this.y + at.y / this.factor - at.y / factor);
  }

  /** Drag the picture along. @param {number} right As shares of what is seen. @param {number} down */
  pan(right, down) {
    this.set(this.factor, this.x - right / this.factor, this.y - down / this.factor);
  }

  reset() {
    this.set(1, 0, 0);
  }

  /** @param {number} factor @param {number} x @param {number} y */
  set(factor, x, y) {
    const most = 1 - 1 / factor;
    Object.assign(this, { factor, x: clamp(x, 0, most), y: clamp(y, 0, most) });
    for (const [name, value] of [["zoom", this.factor], ["zoom-x", this.x], ["zoom-y", this.y]]) {
      this.element.style.setProperty(`--${name}`, String(value));
    }
    this.onChange();
  }
}
