/**
 * The preset of a method stands first on the screen, wherever it is saved: methods that got theirs late have it last among the saved
 * values, which files hold by position.
 */

const GROUP = "method.";
const PRESET = `${GROUP}preset`;

/** @type {WeakMap<any, string[]>} Names of the widgets in the order that is saved, of nodes whose preset was moved. */
const savedOrders = new WeakMap();

/** Call after a node got other widgets. @param {any} node */
export function showPresetFirst(node) {
  const names = namesOf(node);
  const [first, last] = [names.findIndex((name) => name.startsWith(GROUP)), names.indexOf(PRESET)];
  if (last <= first) return;
  savedOrders.set(node, names);
  node.widgets.splice(first, 0, ...node.widgets.splice(last, 1));
}

/** Values of a node in the order of its definition, which older versions wrote. @param {any} node @param {{widgets_values?: any[]}} saved */
export function saveInOrder(node, saved) {
  const names = orderOf(node);
  if (!names || !saved.widgets_values) return;
  const widgets = inOrder(node, names).filter((/** @type {any} */ { serialize }) => serialize !== false);
  saved.widgets_values = widgets.map(({ value }) => value ?? null);
}

/** Before values are read by position. @param {any} node */
export function restoreOrder(node) {
  const names = orderOf(node);
  if (names) node.widgets.splice(0, node.widgets.length, ...inOrder(node, names));
  savedOrders.delete(node);
}

/** Null where the widgets are no longer those that were moved. @param {any} node @returns {string[]|null} */
function orderOf(node) {
  const names = savedOrders.get(node);
  const present = new Set(namesOf(node));
  return names?.every((name) => !name.startsWith(GROUP) || present.has(name)) ? names : null;
}

/** Widgets that came later keep their place at the end. @param {any} node @param {string[]} names @returns {any[]} */
function inOrder(node, names) {
  const place = ({ name = "" }) => (names.includes(name) ? names.indexOf(name) : names.length);
  return [...node.widgets].sort((a, b) => place(a) - place(b));
}

/** @param {any} node @returns {string[]} */
function namesOf({ widgets }) {
  return widgets.map((/** @type {any} */ { name }) => name);
}
