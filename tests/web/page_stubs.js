/** What jsdom lacks: observers of sizes, and a canvas that measures texts. */

import { vi } from "vitest";

/** Every letter is about half as wide as its font is high. */
export function measure(text, size) {
  return text.length * size * 0.56;
}

export function stubPage() {
  vi.stubGlobal("ResizeObserver", ObserverStub);
  HTMLCanvasElement.prototype.getContext = () => new ContextStub();
}

class ObserverStub {
  observe() {}
  disconnect() {}
}

class ContextStub {
  font = "10px sans-serif";

  measureText(text) {
    return { width: measure(text, parseFloat(this.font)) };
  }

  getImageData() {
    return { data: [255, 255, 255, 255] };
  }

  fillRect() {}
  drawImage() {}
}
