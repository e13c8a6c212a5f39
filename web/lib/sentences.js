/** Sentences made of parts. */

/** @param {string} text */
export function capitalised(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** With a capital letter and exactly one full stop. @param {string} text */
export function asSentence(text) {
  return `${capitalised(text.trim().replace(/\.$/, ""))}.`;
}
