/**
 * The report widget: where the report was saved, and its text.
 *
 * @typedef {import("../comfy_adapter.js").FileReference} FileReference
 * @typedef {{markdown: string, files: string[], urls: FileReference[]}} RunReport
 */

import { button, create, panel, setText } from "../lib/elements.js";
import { t } from "../lib/language.js";
import { PayloadError, readOrExplain } from "../lib/payload.js";

const CONFIRMATION_MILLISECONDS = 2000;

/** @param {any} payload @returns {RunReport} */
function parseReport(payload) {
  if (typeof payload?.markdown !== "string" || !Array.isArray(payload.urls)) throw new PayloadError("This is not a SCOPE report.");
  return payload;
}

export class Report {
  /** @type {RunReport|null} */
  report = null;
  problem = "";

  files = create("div", "scope-report-files");
  copyButton = button(t("Copy as Markdown"), t("Copy the text below, to paste it into an issue or a message"), () => this.copy());
  text = create("textarea", "scope-report-text");
  content = create("div", "scope-report-content", [create("div", "scope-report-top", [this.files, this.copyButton]), this.text]);
  empty = create("div", "scope-panel-empty");
  element = panel("scope-report", [this.content, this.empty]);

  /** @param {{viewUrl: (file: FileReference) => string}} options */
  constructor({ viewUrl }) {
    this.viewUrl = viewUrl;
    this.copyButton.setAttribute("aria-live", "polite");
    this.text.readOnly = true;
    this.text.setAttribute("aria-label", t("The report as Markdown"));
    this.refresh();
  }

  /** @param {unknown} payload */
  show(payload) {
    ({ value: this.report, problem: this.problem } = readOrExplain(() => parseReport(payload)));
    this.refresh();
  }

  refresh() {
    const { report } = this;
    this.content.hidden = !report;
    this.empty.hidden = Boolean(report);
    setText(this.empty, this.problem || t("Run the workflow to save a report of the run and to read it here."));
    if (!report) return;
    this.text.value = report.markdown;
    const links = report.urls.map((file, index) => fileLink(report.files[index], this.viewUrl(file)));
    this.files.replaceChildren(`${t("Saved as")} `, ...links.flatMap((link, index) => (index ? [", ", link] : [link])));
  }

  /** Browsers offer the clipboard only to pages from this machine or over HTTPS, and may refuse it; the old way still works. */
  async copy() {
    let copied = await navigator.clipboard?.writeText(this.text.value).then(() => true, () => false);
    if (!copied) {
      this.text.select();
      copied = document.execCommand("copy");
    }
    setText(this.copyButton, copied ? t("Copied") : t("Press Ctrl+C to copy"));
    setTimeout(() => setText(this.copyButton, t("Copy as Markdown")), CONFIRMATION_MILLISECONDS);
  }
}

/** @param {string} name @param {string} url */
function fileLink(name, url) {
  const link = create("a", "", [name]);
  link.href = url;
  link.target = "_blank";
  return link;
}
