/**
 * Finding a symbol of the chart by keys and by pointing.
 *
 * @typedef {{px: number, py: number}} Placed
 */

import { clamp } from "../lib/clamp.js";

/**
 * The symbol of the key's direction that comes next, ordered by place on the screen.
 *
 * @template {Placed} T
 * @param {T[]} symbols
 * @param {T|null} symbol
 * @param {string} key
 * @returns {T|null} Null where the key means nothing.
 */
export function neighbour(symbols, symbol, key) {
  const byX = [...symbols].sort((a, b) => a.px - b.px || a.py - b.py);
  const byY = [...symbols].sort((a, b) => a.py - b.py || a.px - b.px);
  /** @type {Record<string, [order: T[], stride: number]>} */
  const moves = {
    ArrowLeft: [byX, -1],
    ArrowRight: [byX, 1],
    ArrowUp: [byY, -1],
    ArrowDown: [byY, 1],
    Home: [byX, -Infinity],
    End: [byX, Infinity],
  };
  if (!(key in moves)) return null;
  const [order, stride] = moves[key];
  return (symbol ? order[clamp(order.indexOf(symbol) + stride, 0, order.length - 1)] : byX[0]) ?? null;
}

/**
 * The symbol under a pointer, or close by.
 *
 * @template {Placed} T
 * @param {T[]} symbols
 * @param {number} x
 * @param {number} y
 */
export function symbolNear(symbols, x, y, reach = 22) {
  const distance = (/** @type {T} */ { px, py }) => Math.hypot(px - x, py - y);
  const [nearest] = [...symbols].sort((a, b) => distance(a) - distance(b));
  return nearest && distance(nearest) <= reach ? nearest : null;
}
