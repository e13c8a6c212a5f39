/**
 * The report widget: where the report was saved, and its text.
 *
 * @typedef {{markdown: string, files: string[], urls: import("./playback.js").FileReference[]}} RunReport
 */

import { button, create, setText } from "./elements.js";

const EMPTY_TEXT = "Run the workflow to save a report of the run and to read it here.";
const PROBLEM_TEXT = "This is not a SCOPE report.";
const COPY_TEXT = "Copy as Markdown";
const CONFIRMATION_MILLISECONDS = 2000;

export class Report {
  /** @type {RunReport|null} */
  report = null;

  /** @param {{viewUrl: (file: import("./playback.js").FileReference) => string}} options */
  constructor({ viewUrl }) {
    this.viewUrl = viewUrl;
    this.build();
    this.refresh();
  }

  connect() {}

  disconnect() {}

  /** @param {any} payload */
  show(payload) {
    this.report = typeof payload?.markdown === "string" && Array.isArray(payload.urls) ? payload : null;
    this.refresh(this.report ? "" : PROBLEM_TEXT);
  }

  build() {
    this.files = create("div", "scope-report-files");
    this.copyButton = button(COPY_TEXT, "Copy the text below, to paste it into an issue or a message", () => this.copy());
    this.copyButton.setAttribute("aria-live", "polite");
    this.text = create("textarea", "scope-report-text");
    this.text.readOnly = true;
    this.text.setAttribute("aria-label", "The report as Markdown");
    this.content = create("div", "scope-report-content", [create("div", "scope-report-top", [this.files, this.copyButton]), this.text]);
    this.empty = create("div", "scope-panel-empty");
    this.element = create("div", "scope-panel scope-report", [create("div", "scope-panel-body", [this.content, this.empty])]);
  }

  refresh(problem = "") {
    const { report } = this;
    this.content.hidden = !report;
    this.empty.hidden = Boolean(report);
    setText(this.empty, problem || EMPTY_TEXT);
    if (!report) return;
    this.text.value = report.markdown;
    const links = report.urls.map((file, index) => fileLink(report.files[index], this.viewUrl(file)));
    this.files.replaceChildren("Saved as ", ...links.flatMap((link, index) => (index ? [", ", link] : [link])));
  }

  /** Browsers offer the clipboard only to pages from this machine or over HTTPS; elsewhere the old way still works. */
  async copy() {
    let copied = true;
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(this.report.markdown);
    } else {
      this.text.select();
      copied = document.execCommand("copy");
    }
    setText(this.copyButton, copied ? "Copied" : "Press Ctrl+C to copy");
    setTimeout(() => setText(this.copyButton, COPY_TEXT), CONFIRMATION_MILLISECONDS);
  }
}

function fileLink(name, url) {
  const link = create("a", "", [name]);
  link.href = url;
  link.target = "_blank";
  return link;
}
