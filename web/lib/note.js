/** The widget of nodes whose result is a text. */

import { create, panel, setText } from "./elements.js";

export class Note {
  /** @param {string} empty What to say before the node has run. */
  constructor(empty) {
    this.text = create("div", "scope-note-text", [empty]);
    this.element = panel("scope-note", [this.text]);
  }

  connect() {}

  disconnect() {}

  /** @param {unknown} text */
  show(text) {
    setText(this.text, String(text));
  }
}
