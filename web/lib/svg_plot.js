/** A chart that is drawn anew whenever its size or the theme of the page changes, with a cursor on its places. */

import { LookObserver } from "./look_observer.js";
import { PlotCursor, plotElement } from "./plot_cursor.js";
import { LIGHT_THEME, themeOf } from "./theme.js";

/** @typedef {import("./theme.js").Theme} Theme */

/**
 * @template Layout
 * @typedef {{svg: SVGSVGElement, layout: Layout, cursorLayer: SVGGElement}} Picture The layer is empty until the cursor is drawn.
 */

/**
 * @template Layout, Place
 * @typedef {object} SvgPlotOptions
 * @property {string} className
 * @property {string} label
 * @property {(room: {width: number, height: number, theme: Theme}) => Picture<Layout>|null} draw Null where there is nothing to draw.
 * @property {(layout: Layout, place: Place, theme: Theme, isHeld: boolean) => SVGElement[]} drawCursor
 * @property {(layout: Layout, x: number, y: number) => Place|null} at As in `CursorOptions`.
 * @property {(layout: Layout, key: string, place: Place|null, stride: number) => Place|null} next
 * @property {(layout: Layout) => Place|null} first
 * @property {(layout: Layout, place: Place) => Place|null} find Where a place lies that was there before the chart was drawn anew.
 * @property {(before: Place|null) => void} onMove
 * @property {boolean} [canHold]
 */

/** @template Layout, Place */
export class SvgPlot {
  /** @type {Theme} */
  theme = LIGHT_THEME;
  /** @type {Picture<Layout>|null} */
  picture = null;

  /** @param {SvgPlotOptions<Layout, Place>} options */
  constructor(options) {
    const { className, label, at, next, first, onMove, canHold } = options;
    this.options = options;
    this.element = plotElement(`scope-chart ${className}`, label);
    /** @type {PlotCursor<Place>} */
    this.cursor = new PlotCursor(this.element, {
      at: (x, y) => this.picture && at(this.picture.layout, x, y),
      next: (key, place, stride) => this.picture && next(this.picture.layout, key, place, stride),
      first: () => this.picture && first(this.picture.layout),
      onMove: (before) => {
        onMove(before);
        this.showCursor();
      },
      canHold,
    });
    this.look = new LookObserver(this.element, () => this.draw());
  }

  /** Start following size and theme; call when the node joins a graph. */
  connect() {
    this.look.connect();
  }

  disconnect() {
    this.look.disconnect();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.theme = themeOf(this.element.closest(".scope-panel") ?? this.element);
    this.picture = this.options.draw({ width, height, theme: this.theme });
    if (!this.picture) return;
    const { svg, layout } = this.picture;
    svg.setAttribute("aria-hidden", "true");
    this.element.replaceChildren(svg);
    const { place } = this.cursor;
    this.cursor.move(place === null ? null : this.options.find(layout, place));
  }

  showCursor() {
    if (!this.picture) return;
    const { layout, cursorLayer } = this.picture;
    const { place, isHeld } = this.cursor;
    cursorLayer.replaceChildren(...(place === null ? [] : this.options.drawCursor(layout, place, this.theme, isHeld)));
  }
}
