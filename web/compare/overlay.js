/** A window over the whole page, above the canvas of either renderer. */

import { button, create } from "../lib/elements.js";
import { t } from "../lib/language.js";

/**
 * @param {string} title
 * @param {HTMLElement} element
 * @param {() => void} onClose
 */
export function openOverlay(title, element, onClose) {
  const heading = create("h2", "scope-overlay-title", [title]);
  const close = button(t("Close"), t("Close (Escape)"), () => dialog.close());
  const head = create("div", "scope-overlay-head", [heading, close]);
  const dialog = create("dialog", "scope-overlay", [head, create("div", "scope-overlay-body", [element])]);
  dialog.setAttribute("aria-label", title);
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
}
