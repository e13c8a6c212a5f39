/**
 * What the panels say, in the language of the page. English stands in the code, and is the key by which a translation is found;
 * what has none is shown in English.
 */

/** @type {Record<string, string>} */
let translations = {};

/** Texts that are asked for from now on are in another language. @param {Record<string, string>} table By the English text. */
export function speak(table) {
  translations = table;
}

/**
 * A text in the language of the page, whole, so that each language can put its words in order. `python -m tests.locales` finds it
 * where it is written out.
 *
 * @param {string} english With the names of its values in braces.
 * @param {Record<string, string|number>} [values] What has no value yet keeps its braces.
 */
export function t(english, values = {}) {
  return fill(translations[english] ?? english, values);
}

/** @param {string} text @param {Record<string, string|number>} values */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (braces, name) => String(values[name] ?? braces));
}
