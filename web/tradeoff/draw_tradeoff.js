/**
 * Drawing the chart.
 *
 * @typedef {import("../lib/text_measure.js").Measure} Measure
 * @typedef {import("../lib/theme.js").Theme} Theme
 * @typedef {import("./layout.js").Layout} Layout
 * @typedef {import("./marks.js").View} View
 */

import { createSvg } from "../lib/elements.js";
import { meaning } from "../lib/fidelity.js";
import { t } from "../lib/language.js";
import { circle, frame, gridLine, halo, line, pictureOf, textAt } from "../lib/svg_shapes.js";
import { measureText, wrapText } from "../lib/text_measure.js";
import { drawBars, drawRing, drawSymbol } from "./draw_symbols.js";
import { layoutChart } from "./layout.js";
import { LEGEND_GAP } from "./legend.js";
import { FONT_SIZE, LINE_HEIGHT, SMALL_FONT_SIZE, SYMBOL_RADIUS } from "./sizes.js";
import { titleOf } from "./words.js";

const RAIL_TITLE_WIDTH = 70;
const CAPTION = { top: 40, margin: 12, titleSize: 15 };
const CURSOR_RADIUS = 12;

/**
 * @param {View} view
 * @param {{width: number, height: number, theme: Theme, hasCaption?: boolean}} options The caption adds title, meaning and notes.
 */
export function drawTradeoff(view, { width, height, theme, hasCaption = false }) {
  const foot = hasCaption ? footOf(view, width) : [];
  const bottom = height - (foot.length ? foot.length * LINE_HEIGHT + CAPTION.margin : 0);
  const top = hasCaption ? CAPTION.top : 0;
  const layout = layoutChart(view, { width, top, bottom, labelAll: hasCaption, measure: measureText });
  const cursorLayer = createSvg("g");
  const svg = pictureOf(width, height, theme, [
    ...(hasCaption ? drawCaption(view, foot, bottom, theme) : []),
    frame(layout.plot, theme),
    ...(layout.measured ? drawTopRow(layout, theme) : drawInvitation(layout, theme)),
    ...drawQualityAxis(layout, theme),
    ...drawCostAxis(layout, theme),
    ...drawFactorAxis(layout, theme),
    ...drawRail(layout, theme),
    ...drawLines(layout, theme),
    ...layout.legend.map((entry) => drawLegendEntry(entry, theme)),
    ...layout.symbols.flatMap((symbol) => drawBars(symbol, theme)),
    ...layout.symbols.map((symbol) => drawSymbol({ ...symbol, isBaseline: symbol.point.baseline }, theme)),
    cursorLayer,
    ...layout.labels.map((label) => drawLabel(label, theme)),
  ]);
  return { svg, layout, cursorLayer };
}

/** @param {View} view @param {number} width */
function footOf({ runs }, width) {
  return [meaning(), ...(runs?.notes ?? [])].flatMap((note) => wrapText(note, width - 2 * CAPTION.margin, FONT_SIZE, measureText));
}

/** @param {View} view @param {string[]} foot @param {number} bottom @param {Theme} theme */
function drawCaption(view, foot, bottom, theme) {
  const { margin, titleSize } = CAPTION;
  const first = bottom + margin + LINE_HEIGHT / 2 - 4;
  return [
    textAt(titleOf(view), margin, 20, titleSize, { fill: theme.text, "font-weight": "bold" }),
    ...foot.map((text, row) => textAt(text, margin, first + row * LINE_HEIGHT, FONT_SIZE, { fill: theme.muted })),
  ];
}

/** Where results lie that are identical to the baseline. @param {Layout} layout @param {Theme} theme */
function drawTopRow({ plot, topRow }, theme) {
  const dashes = { stroke: theme.muted, "stroke-dasharray": "4 3", "stroke-opacity": 0.5 };
  return [
    line(plot.x, topRow, plot.x + plot.width, topRow, dashes),
    textAt(t("identical"), plot.x - 6, topRow, SMALL_FONT_SIZE, { fill: theme.muted, "text-anchor": "end" }),
  ];
}

/** @param {Layout} layout @param {Theme} theme */
function drawInvitation({ plot }, theme) {
  const [x, y] = [plot.x + plot.width / 2, plot.y + plot.height / 2];
  const lines = wrapText(t("Nothing measured yet. Run the workflow to see what each setting costs."), plot.width - 40, FONT_SIZE, measureText);
  return lines.map((text, row) => textAt(text, x, y + row * LINE_HEIGHT, FONT_SIZE, { fill: theme.muted, "text-anchor": "middle" }));
}

/** @param {Layout} layout @param {Theme} theme */
function drawQualityAxis({ plot, y }, theme) {
  const middle = plot.y + plot.height / 2;
  const upright = { fill: theme.muted, "text-anchor": "middle", transform: `rotate(-90 8 ${middle})` };
  return [
    ...y.ticks.flatMap(({ position, text }) => [
      gridLine(plot.x, position, plot.x + plot.width, position, theme),
      textAt(text, plot.x - 6, position, SMALL_FONT_SIZE, { fill: theme.text, "text-anchor": "end" }),
    ]),
    textAt(y.title, 8, middle, FONT_SIZE, upright),
  ];
}

/** @param {Layout} layout @param {Theme} theme */
function drawCostAxis({ plot, rail, x, symbols }, theme) {
  return symbols.length ? drawAxis(x, plot.x, rail.y + rail.height, 1, theme) : [];
}

/** @param {Layout} layout @param {Theme} theme */
function drawFactorAxis({ plot, factor }, theme) {
  return factor.ticks.length ? drawAxis(factor, plot.x, plot.y, -1, theme) : [];
}

/**
 * @param {import("./scales.js").Axis} axis
 * @param {number} left
 * @param {number} y
 * @param {1|-1} side 1: below the line, -1: above it.
 * @param {Theme} theme
 */
function drawAxis({ title, ticks }, left, y, side, theme) {
  const textY = y + 10 * side;
  return [
    ...ticks.flatMap(({ position, text }) => [
      line(position, y, position, y + 3 * side, { stroke: theme.muted }),
      textAt(text, position, textY, SMALL_FONT_SIZE, { fill: theme.text, "text-anchor": "middle" }),
    ]),
    textAt(title, left - 6, textY, SMALL_FONT_SIZE, { fill: theme.muted, "text-anchor": "end" }),
  ];
}

/** @param {Layout} layout @param {Theme} theme */
function drawRail({ rail }, theme) {
  if (!rail.height) return [];
  const { x, y, width, height } = rail;
  const middle = y + height / 2;
  const right = { fill: theme.muted, "text-anchor": "end" };
  const title = wrapText(t("planned, not measured yet"), RAIL_TITLE_WIDTH, SMALL_FONT_SIZE, measureText);
  return [
    createSvg("rect", { x, y, width, height, rx: 3, fill: theme.muted, "fill-opacity": 0.12 }),
    ...title.map((text, row) => textAt(text, x - 4, middle + (row - (title.length - 1) / 2) * 11, SMALL_FONT_SIZE, right)),
  ];
}

/** @param {Layout} layout @param {Theme} theme */
function drawLines({ front, markerX, plot, topRow }, theme) {
  const parts = front.slice(1).map((symbol, index) => {
    const before = front[index];
    const leavesScale = symbol.y === Infinity && before.y !== Infinity;
    const dashes = leavesScale && { "stroke-dasharray": "5 4" };
    return line(before.px, before.py, symbol.px, symbol.py, { stroke: theme.text, "stroke-width": 1.5, "stroke-opacity": 0.6, ...dashes });
  });
  if (markerX !== null) parts.push(line(markerX, topRow, markerX, plot.y + plot.height, { stroke: theme.text, "stroke-opacity": 0.75 }));
  return parts;
}

/** @param {Layout["legend"][number]} entry @param {Theme} theme */
function drawLegendEntry({ kind, method, text, x, y }, theme) {
  const mark = kind === "ring" ? drawRing(x, y, 6, theme) : drawSymbol({ px: x, py: y, kind, method }, theme);
  return createSvg("g", {}, [mark, textAt(text, x + LEGEND_GAP, y, FONT_SIZE, { fill: theme.text })]);
}

/** @param {Layout["labels"][number]} label @param {Theme} theme */
function drawLabel({ text, box, kind }, theme) {
  const fill = kind === "planned" || kind === "dominated" ? theme.muted : theme.text;
  return textAt(text, box.x, box.y + box.height / 2, FONT_SIZE, { fill, ...(kind !== "planned" && halo(theme)) });
}

/**
 * A disc around one symbol, with lines to the axes.
 *
 * @param {Layout} layout
 * @param {Layout["symbols"][number]} symbol
 * @param {Theme} theme
 * @param {boolean} isHeld
 */
export function drawCursor({ plot, rail }, { px, py, kind }, theme, isHeld) {
  const guide = { stroke: theme.text, "stroke-dasharray": "1 3" };
  return [
    line(px, py + SYMBOL_RADIUS, px, rail.y + rail.height, guide),
    ...(kind === "planned" ? [] : [line(plot.x, py, px - SYMBOL_RADIUS, py, guide)]),
    circle(px, py, CURSOR_RADIUS, { fill: theme.text, "fill-opacity": 0.16, stroke: theme.text, "stroke-width": isHeld ? 2 : 0 }),
  ];
}
