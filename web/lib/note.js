/** The widget of nodes whose result is a text. */

import { create, setText } from "./elements.js";

export class Note {
  /** @param {string} empty What to say before the node has run. */
  constructor(empty) {
    this.text = create("div", "scope-note-text", [empty]);
    this.element = create("div", "scope-panel scope-note", [create("div", "scope-panel-body", [this.text])]);
  }

  connect() {}

  disconnect() {}

  /** @param {unknown} text */
  show(text) {
    setText(this.text, String(text));
  }
}
