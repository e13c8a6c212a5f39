/** Sizes in pixels that the layout of the chart and its drawing agree on. */

export const FONT_SIZE = 11;
export const SMALL_FONT_SIZE = 10;
export const LINE_HEIGHT = 15;
export const SYMBOL_RADIUS = 5;
export const STAR_RADIUS = 8;
export const RING_RADIUS = 9;
