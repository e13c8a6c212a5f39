/**
 * Drawing the trade-off chart as an SVG that carries its own colours and fonts.
 *
 * @typedef {import("./pareto.js").View} View
 * @typedef {import("./draw_trace.js").Theme} Theme
 */

import { MEANING } from "./axes.js";
import { DARK_THEME } from "./draw_trace.js";
import { createSvg } from "./elements.js";
import { FONT_SIZE, RING_RADIUS, STAR_RADIUS, SYMBOL_RADIUS, layoutChart, titleOf, wrapText } from "./pareto.js";

const FONT = "system-ui, sans-serif";
const RAIL_TITLE = ["planned, not", "measured yet"];
const INVITATION = "Nothing measured yet. Run the workflow to see what each setting costs.";
const CAPTION = { top: 40, margin: 12, lineHeight: 15 };

/** Distinguishable with every common kind of colour blindness, and each has a shape of its own. Settings that others beat are paler. */
const METHOD_COLOURS = {
  light: ["#0072b2", "#c44e00", "#00805e", "#a8447f", "#8a6500", "#3b6fb6", "#5b5b5b"],
  dark: ["#5cb8f5", "#ff9a4d", "#35d0a0", "#eba3cd", "#f2cf4a", "#a9c8ff", "#c9c9c9"],
};

const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0z`,
  (r) => polygon(4, r * 1.2, 45),
  (r) => polygon(3, r * 1.3, 0),
  (r) => polygon(4, r * 1.3, 0),
  (r) => polygon(3, r * 1.3, 180),
  (r) => cross(r * 1.15, r * 0.4),
  (r) => polygon(6, r * 1.15, 0),
];
const STAR = polygon(10, STAR_RADIUS, 0, 0.45);

/**
 * @param {View} view
 * @param {{width: number, height: number, theme: Theme, caption?: boolean}} options `caption` adds title, meaning and notes.
 * @returns {{svg: SVGElement, layout: ReturnType<typeof layoutChart>}}
 */
export function drawTradeoff(view, { width, height, theme, caption = false }) {
  const palette = paletteOf(theme);
  const foot = caption ? captionLines(view, width) : [];
  const bottom = height - (foot.length ? foot.length * CAPTION.lineHeight + CAPTION.margin : 0);
  const layout = layoutChart(view, { width, top: caption ? CAPTION.top : 0, bottom, labelAll: caption });
  const svg = createSvg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT, "font-size": FONT_SIZE }, [
    createSvg("rect", { width, height, fill: theme.background }),
    ...(caption ? drawCaption(view, foot, bottom, theme) : []),
    ...drawAxes(layout, theme),
    ...drawRail(layout, theme),
    ...drawLines(layout, theme),
    ...layout.legend.map((entry) => drawLegendEntry(entry, palette, theme)),
    ...layout.symbols.map((symbol) => drawSymbol(symbol, palette, theme)),
    createSvg("g", { "data-part": "labels" }, layout.labels.map((label) => drawLabel(label, theme))),
  ]);
  return { svg, layout };
}

/** Mark one symbol, with lines to the axes, under the labels. */
export function drawCursor(svg, symbol, { plot, rail }, theme, pinned) {
  const bottom = rail.y + rail.height;
  const guide = { stroke: theme.text, "stroke-dasharray": "1 3" };
  const cursor = createSvg("g", {}, [
    line(symbol.px, symbol.py + SYMBOL_RADIUS, symbol.px, bottom, guide),
    ...(symbol.kind === "planned" ? [] : [line(plot.x, symbol.py, symbol.px - SYMBOL_RADIUS, symbol.py, guide)]),
    createSvg("circle", {
      cx: symbol.px,
      cy: symbol.py,
      r: 12,
      fill: theme.text,
      "fill-opacity": 0.16,
      stroke: theme.text,
      "stroke-width": pinned ? 2 : 0,
    }),
  ]);
  svg.querySelector("[data-part=labels]").before(cursor);
  return cursor;
}

function paletteOf(theme) {
  return METHOD_COLOURS[theme.fills === DARK_THEME.fills ? "dark" : "light"];
}

function captionLines({ runs }, width) {
  return [MEANING, ...(runs?.notes ?? [])].flatMap((note) => wrapText(note, width - 2 * CAPTION.margin));
}

function drawCaption(view, foot, bottom, theme) {
  return [
    textAt(titleOf(view), CAPTION.margin, 20, { fill: theme.text, "font-size": 15, "font-weight": "bold" }),
    ...foot.map((text, index) =>
      textAt(text, CAPTION.margin, bottom + CAPTION.margin + (index + 0.5) * CAPTION.lineHeight - 4, { fill: theme.muted }),
    ),
  ];
}

function drawAxes({ plot, rail, x, y, factor, topRow, measured, symbols }, theme) {
  const grid = { stroke: theme.muted, "stroke-opacity": 0.22 };
  const axisY = rail.y + rail.height;
  const right = plot.x + plot.width;
  const small = { fill: theme.muted, "font-size": 10 };
  const parts = [createSvg("rect", { ...boxOf(plot), fill: "none", stroke: theme.muted, "stroke-opacity": 0.45 })];
  if (measured) {
    parts.push(line(plot.x, topRow, right, topRow, { ...grid, "stroke-dasharray": "4 3", "stroke-opacity": 0.5 }));
    parts.push(textAt("identical", plot.x - 6, topRow, { ...small, "text-anchor": "end" }));
  } else {
    const words = wrapText(INVITATION, plot.width - 40);
    const centred = { fill: theme.muted, "text-anchor": "middle" };
    words.forEach((text, row) => parts.push(textAt(text, plot.x + plot.width / 2, plot.y + plot.height / 2 + row * 15, centred)));
  }
  for (const { position, text } of y.ticks) {
    parts.push(line(plot.x, position, right, position, grid));
    parts.push(textAt(text, plot.x - 6, position, { fill: theme.text, "font-size": 10, "text-anchor": "end" }));
  }
  const middle = plot.y + plot.height / 2;
  const upright = { fill: theme.muted, "text-anchor": "middle", transform: `rotate(-90 8 ${middle})` };
  parts.push(textAt(y.title, 8, middle, upright));
  if (symbols.length) {
    for (const { position, text } of x.ticks) {
      parts.push(line(position, axisY, position, axisY + 3, { stroke: theme.muted }));
      parts.push(textAt(text, position, axisY + 10, { fill: theme.text, "font-size": 10, "text-anchor": "middle" }));
    }
    parts.push(textAt(x.title, plot.x - 6, axisY + 10, { ...small, "text-anchor": "end" }));
  }
  for (const { position, text } of factor.ticks) {
    parts.push(line(position, plot.y - 3, position, plot.y, { stroke: theme.muted }));
    parts.push(textAt(text, position, plot.y - 9, { fill: theme.text, "font-size": 10, "text-anchor": "middle" }));
  }
  if (factor.ticks.length) parts.push(textAt(factor.title, plot.x - 6, plot.y - 9, { ...small, "text-anchor": "end" }));
  return parts;
}

function drawRail({ rail, plot }, theme) {
  if (!rail.height) return [];
  const middle = rail.y + rail.height / 2;
  const small = { fill: theme.muted, "font-size": 10, "text-anchor": "end" };
  return [
    createSvg("rect", { ...boxOf(rail), rx: 3, fill: theme.muted, "fill-opacity": 0.12 }),
    ...RAIL_TITLE.map((text, index) => textAt(text, plot.x - 4, middle + (index - 0.5) * 11, small)),
  ];
}

function drawLines({ front, markerX, plot, topRow }, theme) {
  const parts = front.slice(1).map((symbol, index) => {
    const leavesScale = symbol.y === Infinity && front[index].y !== Infinity;
    return line(front[index].px, front[index].py, symbol.px, symbol.py, {
      stroke: theme.text,
      "stroke-width": 1.5,
      "stroke-opacity": 0.6,
      ...(leavesScale && { "stroke-dasharray": "5 4" }),
    });
  });
  if (markerX !== null) parts.push(line(markerX, topRow, markerX, plot.y + plot.height, { stroke: theme.text, "stroke-opacity": 0.75 }));
  return parts;
}

/** Texts in the plot have an edge in the background's colour, since they may lie on a line. */
function drawLabel({ text, box, kind }, theme) {
  const edge = kind === "planned" ? {} : { stroke: theme.background, "stroke-width": 3, "paint-order": "stroke" };
  const fill = kind === "planned" || kind === "dominated" ? theme.muted : theme.text;
  return textAt(text, box.x, box.y + box.height / 2, { fill, ...edge });
}

function drawLegendEntry({ kind, method, text, x, y }, palette, theme) {
  const mark = kind === "ring" ? ring(x, y, 6, theme) : drawSymbol({ kind, method, px: x, py: y, point: {} }, palette, theme);
  return createSvg("g", {}, [mark, textAt(text, x + 12, y, { fill: theme.text })]);
}

function drawSymbol({ kind, method, px, py, point, ringed }, palette, theme) {
  const isBaseline = kind === "baseline" || point.baseline;
  const index = Math.max(0, method);
  const turn = Math.floor(index / SHAPES.length); // no two of many methods share both shape and colour
  const colour = isBaseline ? theme.text : palette[(index + turn) % palette.length];
  const hollow = kind === "planned";
  const symbol = createSvg("path", {
    d: isBaseline ? STAR : SHAPES[index % SHAPES.length](SYMBOL_RADIUS),
    transform: `translate(${px} ${py})`,
    fill: hollow ? theme.background : colour,
    stroke: hollow ? colour : theme.background,
    "stroke-width": hollow ? 1.6 : 1,
    ...(kind === "dominated" && { "fill-opacity": 0.4 }),
  });
  return createSvg("g", {}, ringed ? [symbol, ring(px, py, RING_RADIUS, theme)] : [symbol]);
}

function ring(cx, cy, r, theme) {
  return createSvg("circle", { cx, cy, r, fill: "none", stroke: theme.text, "stroke-width": 2 });
}

function polygon(corners, radius, turn, inner = 1) {
  const points = Array.from({ length: corners }, (_, index) => {
    const angle = ((360 / corners) * index + turn - 90) * (Math.PI / 180);
    const reach = index % 2 ? radius * inner : radius;
    return `${(reach * Math.cos(angle)).toFixed(2)},${(reach * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}z`;
}

function cross(r, w) {
  return `M${-w},${-r}H${w}V${-w}H${r}V${w}H${w}V${r}H${-w}V${w}H${-r}V${-w}H${-w}z`;
}

function line(x1, y1, x2, y2, attributes) {
  return createSvg("line", { x1, y1, x2, y2, ...attributes });
}

/** Text whose middle is at this height; other viewers lack `dominant-baseline`. */
function textAt(text, x, y, attributes) {
  const size = attributes["font-size"] ?? FONT_SIZE;
  return createSvg("text", { x, y: y + size * 0.35, ...attributes }, [text]);
}

function boxOf({ x, y, width, height }) {
  return { x, y, width, height };
}
