/** Small pieces of page that several widgets are made of. */

const SVG = "http://www.w3.org/2000/svg";

/** @param {(Node|string)[]} [children] */
export function create(tag, className = "", children = []) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/** @param {(Node|string)[]} [children] */
export function createSvg(tag, attributes = {}, children = []) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** @param {Node|string} label */
export function button(label, title, onClick) {
  const element = create("button", "scope-button", [label]);
  element.type = "button";
  element.title = title;
  element.addEventListener("click", onClick);
  return element;
}

/** @param {[string, string][]} entries Value and label of each. */
export function selectBox(title, entries, onChange) {
  const element = create("select", "scope-button");
  element.title = title;
  element.setAttribute("aria-label", title);
  element.append(...entries.map(([value, label]) => new Option(label, value)));
  element.addEventListener("change", () => onChange(element.value));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function download(blob, name) {
  const link = create("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function downloadJson(value, name) {
  download(new Blob([JSON.stringify(value)], { type: "application/json" }), name);
}

export function downloadSvg(svg, name) {
  download(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }), name);
}

/** @param {SVGElement} svg With width and height in pixels. */
export async function downloadPng(svg, name, pixelRatio = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  await image.decode();
  const canvas = create("canvas");
  canvas.width = image.width * pixelRatio;
  canvas.height = image.height * pixelRatio;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => download(blob, name), "image/png");
}

/** Redraws, at most once per screen frame, when the size of an element or the theme of the page changed. */
export class LookObserver {
  frameRequest = 0;

  /** @param {() => void} [onTheme] Runs before the page is drawn in another theme. */
  constructor(element, redraw, onTheme = () => {}) {
    this.element = element;
    this.redraw = redraw;
    this.sizes = new ResizeObserver(() => this.request());
    this.themes = new MutationObserver(() => {
      onTheme();
      this.request();
    });
  }

  connect() {
    this.sizes.observe(this.element);
    for (const page of [document.documentElement, document.body]) this.themes.observe(page, { attributeFilter: ["class", "style"] });
  }

  disconnect() {
    this.sizes.disconnect();
    this.themes.disconnect();
  }

  request() {
    this.frameRequest ||= requestAnimationFrame(() => {
      this.frameRequest = 0;
      this.redraw();
    });
  }
}
