/** Drawing anew in step with the screen, the size of an element and the theme of the page. */

/** A function that acts at most once per screen frame, however often it is called. @param {() => void} act */
export function oncePerScreenFrame(act) {
  let request = 0;
  return () => {
    request ||= requestAnimationFrame(() => {
      request = 0;
      act();
    });
  };
}

export class LookObserver {
  /**
   * @param {Element} element
   * @param {() => void} redraw
   * @param {() => void} [onTheme] Runs before the page is drawn in another theme.
   */
  constructor(element, redraw, onTheme = () => {}) {
    const request = oncePerScreenFrame(redraw);
    this.element = element;
    this.sizes = new ResizeObserver(request);
    this.themes = new MutationObserver(() => {
      onTheme();
      request();
    });
  }

  connect() {
    this.sizes.observe(this.element);
    for (const page of [document.documentElement, document.body]) this.themes.observe(page, { attributeFilter: ["class", "style"] });
  }

  disconnect() {
    this.sizes.disconnect();
    this.themes.disconnect();
  }
}
