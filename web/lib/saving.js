/** Files that a widget offers for download. */

import { contextOf } from "./canvas.js";
import { create } from "./elements.js";

/** @param {unknown} value @param {string} name */
export function downloadJson(value, name) {
  download(new Blob([JSON.stringify(value)], { type: "application/json" }), name);
}

/** @param {SVGElement} svg @param {string} name */
export function downloadSvg(svg, name) {
  download(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }), name);
}

/** @param {SVGElement} svg With width and height in pixels. @param {string} name */
export async function downloadPng(svg, name, pixelRatio = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  await image.decode();
  const canvas = create("canvas");
  canvas.width = image.width * pixelRatio;
  canvas.height = image.height * pixelRatio;
  contextOf(canvas).drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => blob && download(blob, name), "image/png");
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = create("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
