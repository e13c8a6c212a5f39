/** Small pieces of page that several widgets are made of. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {(Node|string)[]} [children]
 */
export function create(tag, className = "", children = []) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string|number|boolean>} [attributes]
 * @param {(Node|string)[]} [children]
 */
export function createSvg(tag, attributes = {}, children = []) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** What a widget adds to its node. @param {string} className @param {Node[]} children */
export function panel(className, children) {
  return create("div", `scope-panel ${className}`, [create("div", "scope-panel-body", children)]);
}

/** @param {Node|string} label @param {string} title @param {() => void} onClick */
export function button(label, title, onClick) {
  const element = create("button", "scope-button", [label]);
  element.type = "button";
  element.title = title;
  element.addEventListener("click", onClick);
  return element;
}

/**
 * @param {string} title
 * @param {[string, string][]} entries Value and label of each.
 * @param {(value: string) => void} onChange
 */
export function selectBox(title, entries, onChange) {
  const element = create("select", "scope-button");
  element.title = title;
  element.setAttribute("aria-label", title);
  element.append(...entries.map(([value, label]) => new Option(label, value)));
  element.addEventListener("change", () => onChange(element.value));
  return element;
}

/** @param {Element} element @param {string} role @param {string} label */
export function setRole(element, role, label) {
  element.setAttribute("role", role);
  element.setAttribute("aria-label", label);
}

/**
 * Of several buttons, show one as chosen.
 *
 * @param {Iterable<Element>} buttons
 * @param {number|null} chosen Index; null or -1 for none.
 */
export function setPressed(buttons, chosen) {
  [...buttons].forEach((element, index) => element.setAttribute("aria-pressed", String(index === chosen)));
}

/**
 * Leaves a text alone that is the same, so that nothing is announced or selected anew.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {string} label @param {number} most */
export function makeSlider(element, label, most) {
  element.tabIndex = 0;
  setRole(element, "slider", label);
  element.setAttribute("aria-valuemin", "0");
  element.setAttribute("aria-valuemax", String(most));
}
