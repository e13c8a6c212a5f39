/** Canvases to draw into. */

/** @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2DSettings} [settings] */
export function contextOf(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("This browser gives no canvas to draw into.");
  return context;
}

/**
 * The canvas gets a size in CSS pixels, at least one of the screen's.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @param {number} pixelRatio
 */
export function sizedContext(canvas, width, height, pixelRatio) {
  canvas.width = Math.max(1, Math.round(width * pixelRatio));
  canvas.height = Math.max(1, Math.round(height * pixelRatio));
  const context = contextOf(canvas);
  context.scale(pixelRatio, pixelRatio);
  return context;
}
