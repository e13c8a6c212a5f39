/**
 * The widget of SCOPE Calibrate: what was found, and a button that gives the settings to another node.
 *
 * @typedef {import("../graph/apply.js").Found & {text: string}} Result
 * @typedef {import("../graph/apply.js").Target} Target
 *
 * @typedef {object} Callbacks
 * @property {(found: Result) => Target[]} targets
 * @property {(found: Result, id: string) => string} apply Says what happened.
 */

import { button, create, panel, selectBox, setText } from "../lib/elements.js";
import { t } from "../lib/language.js";

export class Calibration {
  /** @type {Result|null} */
  result = null;
  /** @type {Target[]} */
  targets = [];
  targetId = "";

  text = create("div", "scope-calibration-text", [
    t("Run once for each model, number of steps, shift, guidance and schedule. What was found is told here, and kept for later runs."),
  ]);
  choice = create("div", "scope-calibration-choice");
  said = create("div", "scope-calibration-said");
  row = create("div", "scope-calibration-row", [
    button(t("Apply"), t("Set the node to what was found; undo takes it back"), () => this.apply()),
    this.choice,
    this.said,
  ]);
  element = panel("scope-calibration", [this.text, this.row]);

  /** @param {Callbacks} callbacks */
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.row.hidden = true;
    this.said.setAttribute("role", "status");
    this.element.addEventListener("pointerenter", () => this.list());
  }

  /** @param {any} payload */
  show(payload) {
    if (typeof payload?.text !== "string") return;
    this.result = payload;
    setText(this.text, payload.text);
    setText(this.said, "");
    this.row.hidden = false;
    this.list();
  }

  /** Nodes come and go while a result is shown. */
  list() {
    if (!this.result) return;
    const targets = this.callbacks.targets(this.result);
    if (JSON.stringify(targets) === JSON.stringify(this.targets)) return;
    this.targets = targets;
    if (!targets.some(({ id }) => id === this.targetId)) this.targetId = targets[0]?.id ?? "";
    const box = selectBox(t("Node to apply the settings to"), targets.map(({ id, title }) => [id, title]), (id) => (this.targetId = id));
    box.value = this.targetId;
    this.choice.replaceChildren(...(targets.length > 1 ? [box] : []));
  }

  apply() {
    this.list();
    if (!this.result) return;
    const lacking = t("There is no SCOPE Sampler, SCOPE Settings or SCOPE Accelerate that these settings could be given to.");
    setText(this.said, this.targets.length ? this.callbacks.apply(this.result, this.targetId) : lacking);
  }
}
