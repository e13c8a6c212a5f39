/** Sentences made of parts. */

import { t } from "./language.js";

/** @param {string} text */
export function capitalised(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** With a capital letter and exactly one full stop. @param {string} text */
export function asSentence(text) {
  const sentence = capitalised(text.trim().replace(/[.。]$/, ""));
  return t("{sentence}.", { sentence });
}
