/**
 * A cursor in a plot: the pointer and the keys move it, a click or Enter holds it, Escape lets go.
 */

import { create, setRole } from "./elements.js";
import { hasModifier, onKey, pointIn } from "./input.js";

/**
 * @template Place
 * @typedef {object} CursorOptions
 * @property {(x: number, y: number) => Place|null} at What lies at a point of the plot, in CSS pixels.
 * @property {(key: string, place: Place|null, stride: number) => Place|null} next Where a key leads; null where it means nothing.
 * @property {() => Place|null} first Where the keyboard comes in.
 * @property {(before: Place|null) => void} onMove Runs after `place` or `isHeld` was set.
 * @property {(a: Place, b: Place) => boolean} [isSame]
 * @property {boolean} [canHold]
 */

/** An element that can have a cursor. @param {string} className @param {string} label @param {Node[]} [children] */
export function plotElement(className, label, children = []) {
  const element = create("div", className, children);
  element.tabIndex = 0;
  setRole(element, "application", label);
  return element;
}

/** @template Place */
export class PlotCursor {
  /** @type {Place|null} */
  place = null;
  isHeld = false;

  /** @param {HTMLElement} plot @param {CursorOptions<Place>} options */
  constructor(plot, { at, next, first, onMove, isSame = Object.is, canHold = true }) {
    this.next = next;
    this.first = first;
    this.onMove = onMove;
    this.isSame = isSame;
    this.canHold = canHold;
    const placeAt = (/** @type {MouseEvent} */ event) => {
      const { x, y } = pointIn(event, plot);
      return at(x, y);
    };
    plot.addEventListener("pointermove", (event) => {
      if (!this.isHeld) this.move(placeAt(event));
    });
    plot.addEventListener("pointerleave", () => {
      if (!this.isHeld && document.activeElement !== plot) this.move(null);
    });
    plot.addEventListener("focus", () => {
      if (this.place === null && plot.matches(":focus-visible")) this.move(first());
    });
    plot.addEventListener("blur", () => {
      if (!this.isHeld) this.move(null);
    });
    if (canHold) plot.addEventListener("click", (event) => this.hold(placeAt(event)));
    onKey(plot, (event) => this.handleKey(event));
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (hasModifier(event)) return false;
    const { key, shiftKey } = event;
    const next = this.next(key, this.place, shiftKey ? 10 : 1);
    if (next !== null) this.move(next);
    else if (this.canHold && (key === "Enter" || key === " ")) this.hold(this.place ?? this.first());
    else if (key === "Escape" && this.place !== null) this.release();
    else return false;
    return true;
  }

  /** @param {Place|null} place */
  move(place) {
    const before = this.place;
    this.place = place;
    this.isHeld &&= place !== null;
    this.onMove(before);
  }

  /** Stay at a place, or let go of it where it is the one that is held. @param {Place|null} place */
  hold(place) {
    const isAgain = place !== null && this.place !== null && this.isSame(place, this.place);
    this.isHeld = place !== null && !(this.isHeld && isAgain);
    this.move(place);
  }

  release() {
    this.isHeld = false;
    this.move(null);
  }
}
