/**
 * One of several choices, as buttons next to each other.
 *
 * @typedef {{name: string, label: string, title?: string}} Choice
 */

import { button, create, setPressed, setRole } from "./elements.js";

export class ChoiceButtons {
  /** @type {Choice[]} */
  choices = [];

  /** @param {string} className @param {string} label What is chosen. @param {(name: string) => void} onChoose */
  constructor(className, label, onChoose) {
    this.element = create("div", className);
    this.onChoose = onChoose;
    setRole(this.element, "group", label);
  }

  /**
   * Equal buttons stay, so that they keep the focus.
   *
   * @param {Choice[]} choices
   * @param {string} [chosen] Name of one of them.
   */
  show(choices, chosen) {
    if (JSON.stringify(choices) !== JSON.stringify(this.choices)) {
      this.choices = choices;
      this.element.replaceChildren(...choices.map(({ name, label, title = "" }) => button(label, title, () => this.onChoose(name))));
    }
    setPressed(this.element.children, choices.findIndex(({ name }) => name === chosen));
  }
}
