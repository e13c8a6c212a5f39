/**
 * Drawing into a canvas. CanvasBrush and SvgBrush take CSS pixels and have the same methods.
 *
 * @typedef {import("./theme.js").Theme} Theme
 * @typedef {[x: number, y: number, width: number, height: number]} Area
 * @typedef {{align?: "left"|"right", size?: number, weight?: "normal"|"bold"}} TextStyle
 *
 * @typedef {{size: number, path: string, color: string, isLine: boolean}} TileMark An SVG path in a square of this size, which repeats.
 * @typedef {{color: string, mark?: TileMark}} Tile What a kind of cell is filled with.
 *
 * @typedef {object} Mosaic Cells, row after row.
 * @property {Uint8Array} kinds Of every cell, the index of its tile.
 * @property {number} columns
 * @property {number} rows
 *
 * @typedef {{size: number, pixels: Uint32Array}} TilePixels
 */

import { contextOf, sizedContext } from "./canvas.js";
import { FONT_FAMILY } from "./text_measure.js";

export const TEXT_SIZE = 10;

export class CanvasBrush {
  /**
   * @param {HTMLCanvasElement} canvas Takes the given size.
   * @param {{width: number, height: number, pixelRatio: number, theme: Theme, tiles: Tile[]}} options
   */
  constructor(canvas, { width, height, pixelRatio, theme, tiles }) {
    this.theme = theme;
    this.tiles = tiles;
    this.pixelRatio = pixelRatio;
    this.context = sizedContext(canvas, width, height, pixelRatio);
    this.context.textBaseline = "middle";
    this.fill([0, 0, width, height], theme.background);
  }

  /** @param {Area} area @param {string} color */
  fill(area, color) {
    this.context.fillStyle = color;
    this.context.fillRect(...area);
  }

  /** @param {Area} area @param {number} kind */
  fillTile([x, y, width, height], kind) {
    const { context, pixelRatio, tiles } = this;
    const tile = drawTile(tiles[kind], this.theme, pixelRatio).canvas;
    context.fillStyle = context.createPattern(tile, "repeat") ?? tiles[kind].color;
    context.save();
    context.resetTransform();
    context.fillRect(x * pixelRatio, y * pixelRatio, width * pixelRatio, height * pixelRatio);
    context.restore();
  }

  /** @param {string} path @param {string} color @param {number} width */
  stroke(path, color, width) {
    this.context.strokeStyle = color;
    this.context.lineWidth = width;
    this.context.stroke(new Path2D(path));
  }

  /** @param {string} text @param {number} x @param {number} y @param {string} color @param {TextStyle} [style] */
  text(text, x, y, color, { align = "left", size = TEXT_SIZE, weight = "normal" } = {}) {
    this.context.font = `${weight} ${size}px ${FONT_FAMILY}`;
    this.context.textAlign = align;
    this.context.fillStyle = color;
    this.context.fillText(text, x, y);
  }

  /** Pixel by pixel, which takes the same short time for any number of cells. @param {Mosaic} mosaic @param {Area} area */
  mosaic(mosaic, [x, y, width, height]) {
    const [left, top, right, bottom] = [x, y, x + width, y + height].map((edge) => Math.round(edge * this.pixelRatio));
    if (right - left >= mosaic.columns) {
      this.context.putImageData(imageOf(mosaic, right - left, bottom - top, this.tilePixels(this.pixelRatio)), left, top);
    } else {
      this.context.imageSmoothingQuality = "high";
      this.context.drawImage(this.tinyMosaic(mosaic), x, y, width, height);
    }
  }

  /** Cells narrower than a pixel: one pixel each, which scaling then averages. @param {Mosaic} mosaic */
  tinyMosaic(mosaic) {
    const { columns, rows } = mosaic;
    const canvas = document.createElement("canvas");
    sizedContext(canvas, columns, rows, 1).putImageData(imageOf(mosaic, columns, rows, this.tilePixels(0)), 0, 0);
    return canvas;
  }

  /** @param {number} pixelRatio */
  tilePixels(pixelRatio) {
    return this.tiles.map((tile) => pixelsOf(drawTile(tile, this.theme, pixelRatio)));
  }
}

/**
 * A square that repeats, on the background; without its mark where it is a single pixel.
 *
 * @param {Tile} tile
 * @param {Theme} theme
 * @param {number} pixelRatio
 */
function drawTile({ color, mark }, theme, pixelRatio) {
  const pixels = mark ? Math.max(1, Math.round(mark.size * pixelRatio)) : 1;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = pixels;
  const context = contextOf(canvas, { willReadFrequently: true });
  for (const layer of [theme.background, color]) {
    context.fillStyle = layer;
    context.fillRect(0, 0, pixels, pixels);
  }
  if (mark && pixels > 1) {
    context.scale(pixels / mark.size, pixels / mark.size);
    context.fillStyle = context.strokeStyle = mark.color;
    context[mark.isLine ? "stroke" : "fill"](new Path2D(mark.path));
  }
  return context;
}

/** @param {CanvasRenderingContext2D} context @returns {TilePixels} */
function pixelsOf(context) {
  const { width: size } = context.canvas;
  return { size, pixels: new Uint32Array(context.getImageData(0, 0, size, size).data.buffer) };
}

/** @param {Mosaic} mosaic @param {number} width @param {number} height @param {TilePixels[]} tiles */
function imageOf({ kinds, columns, rows }, width, height, tiles) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const columnAt = Uint32Array.from({ length: width }, (_, x) => ((x + 0.5) * columns) / width);
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * rows) / height) * columns;
    for (let x = 0; x < width; x++, at++) {
      const tile = tiles[kinds[row + columnAt[x]]];
      pixels[at] = tile.pixels[(y % tile.size) * tile.size + (x % tile.size)];
    }
  }
  return image;
}
