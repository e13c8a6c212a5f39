/** The legend as a row of swatches, each with its name. */

import { create, setText } from "../lib/elements.js";
import { LOOK } from "./grid.js";
import { drawSwatch, legend } from "./legend.js";

const SWATCH_SIZE = { width: 16, height: 11, pixelRatio: 2 };

export class LegendRow {
  entries = legend().map((entry) => {
    const [canvas, label] = [create("canvas"), create("span", "", [entry.name])];
    const isIdle = typeof entry.example === "number" && entry.example < LOOK.recompute;
    return { ...entry, canvas, label, element: create("span", isIdle ? "scope-legend-idle" : "", [canvas, label]) };
  });
  element = create("div", "scope-legend", this.entries.map(({ element }) => element));

  /** @param {import("../lib/theme.js").Theme} theme */
  draw(theme) {
    for (const { canvas, example } of this.entries) drawSwatch(canvas, example, theme, SWATCH_SIZE);
  }

  /** @param {(entry: import("./legend.js").LegendEntry) => {text: string, title: string}|null} describe Null leaves an entry out. */
  show(describe) {
    for (const entry of this.entries) {
      const shown = describe(entry);
      entry.element.hidden = !shown;
      if (!shown) continue;
      entry.element.title = shown.title;
      setText(entry.label, shown.text);
    }
  }
}
