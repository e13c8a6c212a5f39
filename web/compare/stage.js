/** The pictures of a comparison: both clips and their difference, and the handle of the wipe between the clips. */

import { clamp } from "../lib/clamp.js";
import { create, makeSlider } from "../lib/elements.js";
import { followDrag, onKey, pointIn, shareAcross } from "../lib/input.js";
import { t } from "../lib/language.js";
import { Pane } from "./pane.js";
import { Zoom } from "./zoom.js";

const LARGEST_CRISP_WIDTH = 256;
const WIPE_STEP = 0.02;
const HANDLE_REACH = 0.05; // of the width, on both sides of the handle
const ZOOM_STEP = 1.25;

export class Stage {
  wipe = 0.5;
  a = new Pane("scope-compare-a");
  b = new Pane("scope-compare-b");
  difference = new Pane("scope-compare-difference");
  panes = [this.a, this.b, this.difference];
  handle = create("div", "scope-compare-handle");
  element = create("div", "scope-compare-stage", [...this.panes.map(({ figure }) => figure), this.handle]);

  /** Whether a drag moves the enlarged picture, and not the handle of the wipe. */
  isPanning = false;

  /** @param {() => boolean} canWipe @param {() => void} onZoom */
  constructor(canWipe, onZoom) {
    this.zoom = new Zoom(this.element, onZoom);
    this.element.tabIndex = -1;
    makeSlider(this.handle, t("Wipe position"), 100);
    followDrag(this.element, (event) => this.drag(event, canWipe()));
    this.element.addEventListener("wheel", (event) => this.handleWheel(event));
    onKey(this.handle, (event) => this.handleKey(event));
    this.setWipe(this.wipe);
  }

  /** @param {PointerEvent} event @param {boolean} canWipe */
  drag(event, canWipe) {
    const { width, height } = this.visibleFigure.getBoundingClientRect(); // on screen, as the movement is
    const share = shareAcross(event, this.a.figure);
    if (event.type === "pointerdown") this.isPanning = this.zoom.factor > 1 && !(canWipe && Math.abs(share - this.wipe) < HANDLE_REACH);
    if (this.isPanning) this.zoom.pan(event.movementX / width, event.movementY / height);
    else if (canWipe) this.setWipe(share);
  }

  /** Over a node the wheel belongs to the graph, unless Shift is held. @param {WheelEvent} event */
  handleWheel(event) {
    if (!event.shiftKey && !document.fullscreenElement) return;
    event.preventDefault();
    event.stopPropagation();
    const { x, y } = pointIn(event, this.visibleFigure);
    const { clientWidth: width, clientHeight: height } = this.visibleFigure;
    const step = (event.deltaY || event.deltaX) < 0 ? ZOOM_STEP : 1 / ZOOM_STEP;
    this.zoom.by(step, { x: clamp(x / width, 0, 1), y: clamp(y / height, 0, 1) });
  }

  get visibleFigure() {
    return this.panes.map(({ figure }) => figure).find(({ clientWidth }) => clientWidth) ?? this.a.figure;
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
    this.a.name(a);
    this.b.name(b);
    this.difference.name(`${a} − ${b}`);
  }
}
