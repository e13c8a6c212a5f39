/**
 * A dialog with the runs that are kept on disk until somebody goes on with them: what each is of, how far it came, its size and age.
 *
 * @typedef {object} KeptRun
 * @property {string} name Of its folder.
 * @property {string} model
 * @property {string} seed
 * @property {number} frames Latent frames of the video, 0 where its manifest is damaged.
 * @property {number} made Of them finished.
 * @property {number} bytes
 * @property {number} changed Seconds since 1970.
 *
 * @typedef {{runs?: KeptRun[], folder?: string, error?: string}} Answer
 * @typedef {{list: () => Promise<Answer>, remove: (name: string) => Promise<Answer>, now?: () => number}} Source
 */

import { button, create } from "../lib/elements.js";
import { percent } from "../lib/formats.js";

const EXPLANATION = "Queue the same graph again, and a run goes on where it stopped. What is removed is gone.";
const NOTHING = "No run is kept on disk. Turn on resume of SCOPE Sampler to keep the next one.";
const AGES = /** @type {const} */ ([[86400, "day"], [3600, "hour"], [60, "minute"]]);
const SIZES = /** @type {const} */ ([[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]);

/** Bytes in words, such as "13 MB". @param {number} bytes */
export function sizeText(bytes) {
  const [unit, name] = SIZES.find(([size]) => bytes >= size) ?? SIZES[2];
  return `${bytes >= 10 * unit ? Math.round(bytes / unit) : (bytes / unit).toFixed(1)} ${name}`;
}

/** How long ago in words, such as "2 days ago". @param {number} seconds */
export function ageText(seconds) {
  const [unit, name] = AGES.find(([length]) => seconds >= length) ?? [0, ""];
  if (!unit) return "just now";
  const count = Math.floor(seconds / unit);
  return `${count} ${name}${count > 1 ? "s" : ""} ago`;
}

/** A run in a line. @param {KeptRun} run @param {number} now */
export function runText(run, now) {
  const made = run.frames ? `${percent(run.made, run.frames)} of ${run.frames} latent frames` : "cannot be read";
  const named = run.model ? `${run.model}, seed ${run.seed}` : run.name;
  return [named, made, sizeText(run.bytes), ageText(now - run.changed)].join(" · ");
}

export class UnfinishedRuns {
  /** @param {Source} source */
  constructor(source) {
    this.source = source;
    this.rows = create("div", "scope-runs");
    this.note = create("p", "scope-runs-note");
    this.element = create("dialog", "scope-panel scope-runs-dialog", [
      create("h2", "", ["SCOPE: unfinished runs"]), this.note, this.rows, button("Close", "Back to the graph", () => this.close()),
    ]);
    this.element.addEventListener("close", () => this.element.remove());
  }

  async open() {
    document.body.append(this.element);
    this.element.showModal();
    this.show(await this.source.list());
  }

  close() {
    this.element.close();
  }

  /** @param {Answer} answer */
  show({ runs = [], folder = "", error }) {
    const now = this.source.now?.() ?? Date.now() / 1000;
    this.note.textContent = error ?? (runs.length ? `${EXPLANATION} They are in ${folder}.` : NOTHING);
    this.rows.replaceChildren(...runs.map((run) => this.row(run, now)));
  }

  /** @param {KeptRun} run @param {number} now */
  row(run, now) {
    const remove = button("Remove", `Remove ${run.name}`, async () => {
      remove.disabled = true;
      this.show(await this.source.remove(run.name));
    });
    return create("div", "scope-runs-row", [create("span", "", [runText(run, now)]), remove]);
  }
}
