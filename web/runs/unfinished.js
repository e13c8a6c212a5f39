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
import { t } from "../lib/language.js";

const [DAY, HOUR, MINUTE] = [86400, 3600, 60];
const SIZES = /** @type {const} */ ([[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]);

/** Bytes in words, such as "13 MB". @param {number} bytes */
export function sizeText(bytes) {
  const [unit, name] = SIZES.find(([size]) => bytes >= size) ?? SIZES[2];
  return `${bytes >= 10 * unit ? Math.round(bytes / unit) : (bytes / unit).toFixed(1)} ${name}`;
}

/** How long ago in words, such as "2 days ago". @param {number} seconds */
export function ageText(seconds) {
  const unit = [DAY, HOUR, MINUTE].find((length) => seconds >= length) ?? 0;
  const count = Math.floor(seconds / unit);
  if (unit === DAY) return count > 1 ? t("{count} days ago", { count }) : t("1 day ago");
  if (unit === HOUR) return count > 1 ? t("{count} hours ago", { count }) : t("1 hour ago");
  if (unit === MINUTE) return count > 1 ? t("{count} minutes ago", { count }) : t("1 minute ago");
  return t("just now");
}

/** A run in a line. @param {KeptRun} run @param {number} now */
export function runText(run, now) {
  const named = run.model ? t("{model}, seed {seed}", { model: run.model, seed: run.seed }) : run.name;
  return [named, madeText(run), sizeText(run.bytes), ageText(now - run.changed)].join(" · ");
}

/** @param {KeptRun} run */
function madeText({ made, frames }) {
  if (!frames) return t("cannot be read");
  if (made >= frames) return t("finished, all {frames} latent frames", { frames });
  return t("{share} of {frames} latent frames", { share: percent(made, frames), frames });
}

export class UnfinishedRuns {
  /** @param {Source} source */
  constructor(source) {
    this.source = source;
    this.rows = create("div", "scope-runs");
    this.note = create("p", "scope-runs-note");
    this.closer = button(t("Close"), t("Back to the graph"), () => this.close());
    this.element = create("dialog", "scope-panel scope-runs-dialog", [
      create("h2", "", [t("SCOPE: Unfinished runs")]), this.note, this.rows, this.closer,
    ]);
    this.element.addEventListener("close", () => this.element.remove());
    this.element.addEventListener("keydown", (event) => event.stopPropagation()); // the graph has an Escape of its own
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
    this.note.textContent = error ?? (runs.length ? explanation(folder) : t("No run is kept on disk. Turn on resume of SCOPE Sampler to keep the next one."));
    this.rows.replaceChildren(...runs.map((run) => this.row(run, now)));
  }

  /** @param {KeptRun} run @param {number} now */
  row(run, now) {
    const remove = button(t("Remove"), t("Remove {name}", { name: run.name }), async () => {
      remove.disabled = true;
      this.show(await this.source.remove(run.name));
      this.closer.focus(); // what had the focus is gone, and keys would go to the graph
    });
    return create("div", "scope-runs-row", [create("span", "", [runText(run, now)]), remove]);
  }
}

/** @param {string} folder */
function explanation(folder) {
  return t(
    "Queue the same graph again, and a run goes on where it stopped; a finished one waits for the prompt that shows it to end well. What is removed is gone. They are in {folder}.",
    { folder },
  );
}
