/** Keys and pointers over a widget. */

/**
 * A key that is handled is kept from the page and from ComfyUI's shortcuts.
 *
 * @param {HTMLElement} element
 * @param {(event: KeyboardEvent) => boolean} handle Whether it had a use for the key.
 */
export function onKey(element, handle) {
  element.addEventListener("keydown", (event) => {
    if (!handle(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** Keys together with these belong to the browser and to ComfyUI. @param {KeyboardEvent} event */
export function hasModifier({ ctrlKey, metaKey, altKey }) {
  return ctrlKey || metaKey || altKey;
}

/**
 * Where the pointer is in an element, in its own CSS pixels: on screen it may be scaled.
 *
 * @param {MouseEvent} event
 * @param {Element} element
 */
export function pointIn(event, element) {
  const { left, top, width } = element.getBoundingClientRect();
  const scale = element.clientWidth / width;
  return { x: (event.clientX - left) * scale, y: (event.clientY - top) * scale };
}

/** How far across an element the pointer is. @param {MouseEvent} event @param {Element} element */
export function shareAcross(event, element) {
  const { left, width } = element.getBoundingClientRect();
  return (event.clientX - left) / width;
}

/** @param {HTMLElement} element @param {(event: PointerEvent) => void} onMove */
export function followDrag(element, onMove) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    onMove(event);
  });
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && onMove(event));
}
