/**
 * The symbols of the chart: a shape and a colour for every method, a star for the baseline, a ring around the current setting.
 *
 * @typedef {import("../lib/theme.js").Theme} Theme
 * @typedef {import("./marks.js").Kind} Kind
 */

import { createSvg } from "../lib/elements.js";
import { circle, line } from "../lib/svg_shapes.js";
import { RING_RADIUS, STAR_RADIUS, SYMBOL_RADIUS } from "./sizes.js";

const CAP = 3; // half of the line across the end of a bar

/** Distinguishable with every common kind of colour blindness, and each has a shape of its own. Settings that others beat are paler. */
const ON_LIGHT = ["#0072b2", "#c44e00", "#00805e", "#a8447f", "#8a6500", "#3b6fb6", "#5b5b5b"];
const ON_DARK = ["#5cb8f5", "#ff9a4d", "#35d0a0", "#eba3cd", "#f2cf4a", "#a9c8ff", "#c9c9c9"];

/** SVG paths around 0, 0, all about as large as a disc of radius r. */
const SHAPES = [
  (/** @type {number} */ r) => `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0z`,
  (/** @type {number} */ r) => polygon(4, r * 1.2, 45),
  (/** @type {number} */ r) => polygon(3, r * 1.3, 0),
  (/** @type {number} */ r) => polygon(4, r * 1.3, 0),
  (/** @type {number} */ r) => polygon(3, r * 1.3, 180),
  (/** @type {number} */ r) => cross(r * 1.15, r * 0.4),
  (/** @type {number} */ r) => polygon(6, r * 1.15, 0),
];

/**
 * @param {{px: number, py: number, kind: Kind, method: number, isBaseline?: boolean, ringed?: boolean}} symbol
 * @param {Theme} theme
 */
export function drawSymbol({ px, py, kind, method, isBaseline = false, ringed = false }, theme) {
  const { path, color } = isBaseline ? { path: polygon(10, STAR_RADIUS, 0, 0.45), color: theme.text } : looksOf(method, theme);
  const isHollow = kind === "planned";
  const symbol = createSvg("path", {
    d: path,
    transform: `translate(${px} ${py})`,
    fill: isHollow ? theme.background : color,
    stroke: isHollow ? color : theme.background,
    "stroke-width": isHollow ? 1.6 : 1,
    ...(kind === "dominated" && { "fill-opacity": 0.4 }),
  });
  return createSvg("g", {}, ringed ? [symbol, drawRing(px, py, RING_RADIUS, theme)] : [symbol]);
}

/**
 * The 95 % intervals of a symbol; an end that is out of sight has no cap.
 *
 * @param {import("./layout.js").Symbol} symbol
 * @param {Theme} theme
 */
export function drawBars({ px, py, across, upright, method, kind }, theme) {
  const attributes = { stroke: kind === "baseline" ? theme.text : looksOf(method, theme).color, "stroke-opacity": kind === "dominated" ? 0.4 : 0.75 };
  return [
    ...(across ? [line(across.from, py, across.to, py, attributes)] : []),
    ...(across?.ends ?? []).map((x) => line(x, py - CAP, x, py + CAP, attributes)),
    ...(upright ? [line(px, upright.from, px, upright.to, attributes)] : []),
    ...(upright?.ends ?? []).map((y) => line(px - CAP, y, px + CAP, y, attributes)),
  ];
}

/** Dashed and in colour, unlike that of a symbol that is held. @param {number} cx @param {number} cy @param {number} r @param {Theme} theme */
export function drawRing(cx, cy, r, theme) {
  return circle(cx, cy, r, { fill: "none", stroke: theme.accent, "stroke-width": 2, "stroke-dasharray": "4 2" });
}

/** @param {number} method @param {Theme} theme */
function looksOf(method, { isDark }) {
  const colors = isDark ? ON_DARK : ON_LIGHT;
  const index = Math.max(0, method);
  const turn = Math.floor(index / SHAPES.length); // no two of many methods share both shape and colour
  return { path: SHAPES[index % SHAPES.length](SYMBOL_RADIUS), color: colors[(index + turn) % colors.length] };
}

/**
 * @param {number} corners
 * @param {number} radius
 * @param {number} turn Degrees.
 * @param {number} [inner] Share of the radius that every other corner has.
 */
function polygon(corners, radius, turn, inner = 1) {
  const points = Array.from({ length: corners }, (_, index) => {
    const angle = ((360 / corners) * index + turn - 90) * (Math.PI / 180);
    const reach = index % 2 ? radius * inner : radius;
    return `${(reach * Math.cos(angle)).toFixed(2)},${(reach * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}z`;
}

/** @param {number} r @param {number} w Half the width of its arms. */
function cross(r, w) {
  return `M${-w},${-r}H${w}V${-w}H${r}V${w}H${w}V${r}H${-w}V${w}H${-r}V${-w}H${-w}z`;
}
