/**
 * Two ways to draw the same picture: into a canvas, and as an SVG element. Both take CSS pixels and have the same methods.
 *
 * @typedef {import("./draw_trace.js").Geometry} Geometry
 * @typedef {import("./draw_trace.js").Theme} Theme
 * @typedef {import("./trace.js").Grid} Grid
 * @typedef {[x: number, y: number, width: number, height: number]} Box
 * @typedef {{align?: "left"|"right", size?: number, weight?: "normal"|"bold"}} TextStyle
 */

import { createSvg } from "./elements.js";
import { LOOK } from "./trace.js";

const FONT_FAMILY = "system-ui, sans-serif";
const TEXT_SIZE = 10;

/** Marks on the looks that are not a plain colour, as SVG paths in a square tile. */
const TILES = {
  [LOOK.predict]: { size: 5, path: "M-6 6L1 -1M-1 6L6 -1M4 6L11 -1", color: "onPredict", isLine: true },
  [LOOK.cache]: { size: 4, path: "M1.2 2a.8 .8 0 1 0 1.6 0a.8 .8 0 1 0 -1.6 0", color: "onCache", isLine: false },
};

/** About as wide as the text will be; exact enough to keep labels apart. */
export function textWidth(text, size = TEXT_SIZE) {
  return text.length * size * 0.56;
}

export class CanvasBrush {
  /**
   * @param {HTMLCanvasElement} canvas Takes the given size.
   * @param {{width: number, height: number, pixelRatio?: number, theme: Theme}} options
   */
  constructor(canvas, { width, height, pixelRatio = 1, theme }) {
    this.theme = theme;
    this.pixelRatio = pixelRatio;
    this.context = sizedContext(canvas, width, height, pixelRatio);
    this.context.textBaseline = "middle";
  }

  /** @param {Box} box */
  fill(box, color) {
    this.context.fillStyle = color;
    this.context.fillRect(...box);
  }

  /** @param {Box} box */
  fillLook([x, y, width, height], look) {
    const { context, pixelRatio } = this;
    context.fillStyle = context.createPattern(drawTile(look, this.theme, pixelRatio).canvas, "repeat");
    context.save();
    context.resetTransform();
    context.fillRect(x * pixelRatio, y * pixelRatio, width * pixelRatio, height * pixelRatio);
    context.restore();
  }

  stroke(path, color, width) {
    this.context.strokeStyle = color;
    this.context.lineWidth = width;
    this.context.stroke(new Path2D(path));
  }

  /** @param {TextStyle} [style] */
  text(text, x, y, color, { align = "left", size = TEXT_SIZE, weight = "normal" } = {}) {
    this.context.font = `${weight} ${size}px ${FONT_FAMILY}`;
    this.context.textAlign = align;
    this.context.fillStyle = color;
    this.context.fillText(text, x, y);
  }

  /** Pixel by pixel, which takes the same short time for any number of cells. */
  cells(grid, geometry) {
    const [left, top, right, bottom] = [geometry.x, geometry.y, geometry.x + geometry.width, geometry.y + geometry.height].map((edge) =>
      Math.round(edge * this.pixelRatio),
    );
    if (right - left >= grid.columns) {
      const tiles = this.theme.fills.map((_, look) => pixelsOf(drawTile(look, this.theme, this.pixelRatio)));
      this.context.putImageData(imageOf(grid, right - left, bottom - top, tiles), left, top);
    } else this.tinyCells(grid, geometry);
  }

  /** Cells narrower than a pixel: one pixel each in a small image, which scaling then averages. */
  tinyCells(grid, { x, y, width, height }) {
    const tiles = this.theme.fills.map((_, look) => pixelsOf(drawTile(look, this.theme, 0)));
    const image = document.createElement("canvas");
    sizedContext(image, grid.columns, grid.rows, 1).putImageData(imageOf(grid, grid.columns, grid.rows, tiles), 0, 0);
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, x, y, width, height);
  }
}

export class SvgBrush {
  /** @param {{width: number, height: number, theme: Theme}} options */
  constructor({ width, height, theme }) {
    this.theme = theme;
    const patterns = Object.entries(TILES).map(([look, { size, path, color, isLine }]) =>
      shape("pattern", { id: `look${look}`, width: size, height: size, patternUnits: "userSpaceOnUse" }, [
        shape("rect", { width: size, height: size, ...paint("fill", theme.fills[look]) }),
        shape("path", { d: path, fill: "none", ...paint(isLine ? "stroke" : "fill", theme[color]) }),
      ]),
    );
    const root = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT_FAMILY };
    /** @type {SVGElement} */
    this.picture = createSvg("svg", root, [createSvg("defs", {}, patterns)]);
  }

  /** @param {Box} box */
  fill([x, y, width, height], color) {
    this.picture.append(shape("rect", { x, y, width, height, ...paint("fill", color) }));
  }

  /** @param {Box} box */
  fillLook([x, y, width, height], look) {
    this.picture.append(shape("rect", { x, y, width, height, ...this.paintOf(look) }));
  }

  stroke(path, color, width) {
    this.picture.append(shape("path", { d: path, fill: "none", ...paint("stroke", color), "stroke-width": width }));
  }

  /** @param {TextStyle} [style] */
  text(text, x, y, color, { align = "left", size = TEXT_SIZE, weight = "normal" } = {}) {
    const place = { x, y, "text-anchor": align === "right" ? "end" : "start", "dominant-baseline": "central" };
    this.picture.append(shape("text", { ...place, "font-size": size, "font-weight": weight, ...paint("fill", color) }, [text]));
  }

  /** One path for all cells of a look. */
  cells(grid, geometry) {
    const paths = this.theme.fills.map(() => []);
    forEachRun(grid, geometry, ([x, y, width, height], look) => {
      paths[look].push(`M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}z`);
    });
    for (const [look, path] of paths.entries()) {
      if (path.length) this.picture.append(shape("path", { d: path.join(""), ...this.paintOf(look) }));
    }
  }

  paintOf(look) {
    return TILES[look] ? { fill: `url(#look${look})` } : paint("fill", this.theme.fills[look]);
  }
}

/** Neighbours of one look in a column are one box. `visit(box, look)` in the units of the geometry. */
function forEachRun({ looks, columns, rows }, { x, y, width, height }, visit) {
  const [cellWidth, cellHeight] = [width / columns, height / rows];
  for (let column = 0; column < columns; column++) {
    for (let from = 0, to; from < rows; from = to) {
      const look = looks[from * columns + column];
      for (to = from + 1; to < rows && looks[to * columns + column] === look; to++);
      if (look !== LOOK.empty) visit([x + column * cellWidth, y + from * cellHeight, cellWidth, (to - from) * cellHeight], look);
    }
  }
}

function sizedContext(canvas, width, height, pixelRatio) {
  canvas.width = Math.max(1, Math.round(width * pixelRatio));
  canvas.height = Math.max(1, Math.round(height * pixelRatio));
  const context = canvas.getContext("2d");
  context.scale(pixelRatio, pixelRatio);
  return context;
}

/** A square that repeats, on the background; without marks where it is a single pixel. */
function drawTile(look, theme, pixelRatio) {
  const { size, path, color, isLine } = TILES[look] ?? { size: 0 };
  const pixels = Math.max(1, Math.round(size * pixelRatio));
  const tile = document.createElement("canvas");
  tile.width = tile.height = pixels;
  const context = tile.getContext("2d", { willReadFrequently: true });
  for (context.fillStyle of [theme.background, theme.fills[look]]) context.fillRect(0, 0, pixels, pixels);
  if (pixels > 1) {
    context.scale(pixels / size, pixels / size);
    context.fillStyle = context.strokeStyle = theme[color];
    context[isLine ? "stroke" : "fill"](new Path2D(path));
  }
  return context;
}

function pixelsOf(context) {
  const { width: size } = context.canvas;
  return { size, pixels: new Uint32Array(context.getImageData(0, 0, size, size).data.buffer) };
}

function imageOf({ looks, columns, rows }, width, height, tiles) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const columnAt = Uint32Array.from({ length: width }, (_, x) => ((x + 0.5) * columns) / width);
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * rows) / height) * columns;
    for (let x = 0; x < width; x++, at++) {
      const tile = tiles[looks[row + columnAt[x]]];
      pixels[at] = tile.pixels[(y % tile.size) * tile.size + (x % tile.size)];
    }
  }
  return image;
}

function shape(name, attributes, children) {
  const rounded = Object.entries(attributes).map(([key, value]) => [key, typeof value === "number" ? short(value) : value]);
  return createSvg(name, Object.fromEntries(rounded), children);
}

/** Not every program reads #rrggbbaa. */
function paint(attribute, color) {
  const [, opaque, alpha] = /^(#[0-9a-f]{6})([0-9a-f]{2})$/i.exec(color) ?? [];
  return opaque ? { [attribute]: opaque, [`${attribute}-opacity`]: parseInt(alpha, 16) / 255 } : { [attribute]: color };
}

function short(number) {
  return Number(number.toFixed(2));
}
