/**
 * Where the cells of a drawn trace lie.
 *
 * @typedef {import("../lib/canvas_brush.js").CanvasBrush | import("../lib/svg_brush.js").SvgBrush} Brush
 *
 * @typedef {object} Geometry CSS pixels.
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} columns
 * @property {number} rows
 */

/**
 * @param {Geometry} geometry
 * @param {number} column
 * @param {number} unit
 * @returns {import("../lib/canvas_brush.js").Area}
 */
export function cellArea({ x, y, width, height, columns, rows }, column, unit) {
  return [x + (column * width) / columns, y + (unit * height) / rows, width / columns, height / rows];
}

/**
 * @param {Geometry} geometry
 * @param {number} pointX
 * @param {number} pointY
 * @returns {{column: number, unit: number}|null}
 */
export function cellAtPoint({ x, y, width, height, columns, rows }, pointX, pointY) {
  const column = Math.floor(((pointX - x) / width) * columns);
  const unit = Math.floor(((pointY - y) / height) * rows);
  return column >= 0 && column < columns && unit >= 0 && unit < rows ? { column, unit } : null;
}
