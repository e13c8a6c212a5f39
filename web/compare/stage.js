/** The pictures of a comparison: both clips and their difference, and the handle of the wipe between the clips. */

import { clamp } from "../lib/clamp.js";
import { create, makeSlider, setText } from "../lib/elements.js";
import { followDrag, onKey, shareAcross } from "../lib/input.js";
import { Pane } from "./pane.js";

const LARGEST_CRISP_WIDTH = 256;
const WIPE_STEP = 0.02;

export class Stage {
  wipe = 0.5;
  a = new Pane("scope-compare-a");
  b = new Pane("scope-compare-b");
  difference = new Pane("scope-compare-difference");
  panes = [this.a, this.b, this.difference];
  handle = create("div", "scope-compare-handle");
  element = create("div", "scope-compare-stage", [...this.panes.map(({ figure }) => figure), this.handle]);

  /** @param {() => boolean} canWipe */
  constructor(canWipe) {
    this.element.tabIndex = -1;
    makeSlider(this.handle, "Wipe position", 100);
    followDrag(this.element, (event) => canWipe() && this.setWipe(shareAcross(event, this.a.figure)));
    onKey(this.handle, (event) => this.handleKey(event));
    this.setWipe(this.wipe);
  }

  /** @param {KeyboardEvent} event */
  handleKey({ key, shiftKey }) {
    const step = WIPE_STEP * (shiftKey ? 5 : 1);
    /** @type {Record<string, number>} */
    const places = { ArrowLeft: this.wipe - step, ArrowRight: this.wipe + step, Home: 0, End: 1 };
    if (!(key in places)) return false;
    this.setWipe(places[key]);
    return true;
  }

  /** @param {number} share Of the width, from the left. */
  setWipe(share) {
    this.wipe = clamp(share, 0, 1);
    this.element.style.setProperty("--wipe", String(this.wipe));
    this.handle.setAttribute("aria-valuenow", String(Math.round(100 * this.wipe)));
  }

  /** Small pictures are enlarged without a blur. @param {import("./comparison.js").Comparison} comparison */
  show({ width, height, labels: [a, b] }) {
    this.element.style.setProperty("--aspect", String(width / height));
    this.element.classList.toggle("scope-compare-crisp", width <= LARGEST_CRISP_WIDTH);
    setText(this.a.label, a);
    setText(this.b.label, b);
    setText(this.difference.label, `${a} − ${b}`);
  }
}
