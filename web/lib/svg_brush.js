/**
 * Drawing into an SVG, for a picture that other programs can read.
 *
 * @typedef {import("./canvas_brush.js").Area} Area
 * @typedef {import("./canvas_brush.js").Mosaic} Mosaic
 * @typedef {import("./canvas_brush.js").TextStyle} TextStyle
 * @typedef {import("./canvas_brush.js").Tile} Tile
 * @typedef {import("./svg_shapes.js").Attributes} Attributes
 * @typedef {import("./theme.js").Theme} Theme
 */

import { TEXT_SIZE } from "./canvas_brush.js";
import { createSvg } from "./elements.js";
import { pictureOf, textAt } from "./svg_shapes.js";

export class SvgBrush {
  /** @param {{width: number, height: number, theme: Theme, tiles: Tile[]}} options */
  constructor({ width, height, theme, tiles }) {
    this.theme = theme;
    this.tiles = tiles;
    this.picture = pictureOf(width, height, theme, [createSvg("defs", {}, tiles.flatMap(patternOf))]);
  }

  /** @param {Area} area @param {string} color */
  fill(area, color) {
    this.picture.append(rectangle(area, paint("fill", color)));
  }

  /** @param {Area} area @param {number} kind */
  fillTile(area, kind) {
    this.picture.append(rectangle(area, this.paintOf(kind)));
  }

  /** @param {string} path @param {string} color @param {number} width */
  stroke(path, color, width) {
    this.picture.append(createSvg("path", { d: path, fill: "none", ...paint("stroke", color), "stroke-width": width }));
  }

  /** @param {string} text @param {number} x @param {number} y @param {string} color @param {TextStyle} [style] */
  text(text, x, y, color, { align = "left", size = TEXT_SIZE, weight = "normal" } = {}) {
    const anchor = align === "right" ? "end" : "start";
    this.picture.append(textAt(text, short(x), short(y), size, { "text-anchor": anchor, "font-weight": weight, ...paint("fill", color) }));
  }

  /** One path for all cells of a kind. @param {Mosaic} mosaic @param {Area} area */
  mosaic(mosaic, area) {
    const paths = this.tiles.map(() => "");
    forEachRun(mosaic, area, ([x, y, width, height], kind) => {
      paths[kind] += `M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}z`;
    });
    for (const [kind, path] of paths.entries()) {
      if (path && this.tiles[kind].color !== "transparent") this.picture.append(createSvg("path", { d: path, ...this.paintOf(kind) }));
    }
  }

  /** @param {number} kind */
  paintOf(kind) {
    return this.tiles[kind].mark ? { fill: `url(#tile${kind})` } : paint("fill", this.tiles[kind].color);
  }
}

/** @param {Tile} tile @param {number} kind */
function patternOf({ color, mark }, kind) {
  if (!mark) return [];
  const { size, path } = mark;
  const attributes = { id: `tile${kind}`, width: size, height: size, patternUnits: "userSpaceOnUse" };
  return createSvg("pattern", attributes, [
    createSvg("rect", { width: size, height: size, ...paint("fill", color) }),
    createSvg("path", { d: path, fill: "none", ...paint(mark.isLine ? "stroke" : "fill", mark.color) }),
  ]);
}

/**
 * Neighbours of one kind in a column are one area.
 *
 * @param {Mosaic} mosaic
 * @param {Area} area
 * @param {(area: Area, kind: number) => void} visit
 */
function forEachRun({ kinds, columns, rows }, [x, y, width, height], visit) {
  const [cellWidth, cellHeight] = [width / columns, height / rows];
  for (let column = 0; column < columns; column++) {
    for (let from = 0, to; from < rows; from = to) {
      const kind = kinds[from * columns + column];
      for (to = from + 1; to < rows && kinds[to * columns + column] === kind; to++);
      visit([x + column * cellWidth, y + from * cellHeight, cellWidth, (to - from) * cellHeight], kind);
    }
  }
}

/** @param {Area} area @param {Attributes} attributes */
function rectangle([x, y, width, height], attributes) {
  return createSvg("rect", { x: short(x), y: short(y), width: short(width), height: short(height), ...attributes });
}

/** Not every program reads #rrggbbaa. @param {"fill"|"stroke"} attribute @param {string} color @returns {Attributes} */
function paint(attribute, color) {
  const [, opaque, alpha] = /^(#[0-9a-f]{6})([0-9a-f]{2})$/i.exec(color) ?? [];
  return opaque ? { [attribute]: opaque, [`${attribute}-opacity`]: short(parseInt(alpha, 16) / 255) } : { [attribute]: color };
}

/** @param {number} number */
function short(number) {
  return Number(number.toFixed(2));
}
