// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { ChoiceButtons } from "../../web/lib/choice_buttons.js";
import { oncePerScreenFrame } from "../../web/lib/look_observer.js";
import { PlotCursor, plotElement } from "../../web/lib/plot_cursor.js";
import { measureText } from "../../web/lib/text_measure.js";
import { stubPage } from "./page_stubs.js";

beforeEach(stubPage);

describe("PlotCursor", () => {
  let plot;
  let moves;

  /** Places are the whole numbers from 0 to 9, ten pixels each. */
  function cursorOf(options = {}) {
    const cursor = new PlotCursor(plot, {
      at: (x) => (x >= 0 && x < 100 ? Math.floor(x / 10) : null),
      next: (key, place, stride) => (key === "ArrowRight" ? Math.min((place ?? -1) + stride, 9) : null),
      first: () => 0,
      onMove: (before) => moves.push([before, cursor.place]),
      ...options,
    });
    return cursor;
  }

  function point(type, x) {
    plot.dispatchEvent(new MouseEvent(type, { clientX: 20 + x / 2, clientY: 5 }));
  }

  function press(key, modifiers = {}) {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...modifiers });
    plot.dispatchEvent(event);
    return event.defaultPrevented;
  }

  beforeEach(() => {
    plot = plotElement("plot", "A plot.");
    moves = [];
    Object.defineProperty(plot, "clientWidth", { value: 100 });
    plot.getBoundingClientRect = () => ({ left: 20, top: 0, width: 50 }); // at half its size
    document.body.replaceChildren(plot);
  });

  it("follows the pointer, however the plot is scaled", () => {
    const cursor = cursorOf();
    point("pointermove", 35);
    expect(cursor.place).toBe(3);
    point("pointerleave", 35);
    expect(cursor.place).toBeNull();
    expect(moves).toEqual([[null, 3], [3, null]]);
  });

  it("takes place 0 for a place", () => {
    const cursor = cursorOf();
    point("pointermove", 5);
    expect(cursor.place).toBe(0);
    point("click", 5);
    expect(cursor.isHeld).toBe(true);
  });

  it("holds a place until it is clicked again, let go or given up", () => {
    const cursor = cursorOf();
    point("click", 35);
    point("pointermove", 75);
    point("pointerleave", 75);
    expect([cursor.place, cursor.isHeld]).toEqual([3, true]);
    point("click", 75);
    expect([cursor.place, cursor.isHeld]).toEqual([7, true]);
    point("click", 75);
    expect([cursor.place, cursor.isHeld]).toEqual([7, false]);
    press("Enter");
    expect(cursor.isHeld).toBe(true);
    expect(press("Escape")).toBe(true);
    expect([cursor.place, cursor.isHeld]).toEqual([null, false]);
  });

  it("lets go where nothing is left to hold", () => {
    const cursor = cursorOf();
    point("click", 35);
    cursor.move(null);
    expect(cursor.isHeld).toBe(false);
  });

  it("moves by keys, with Shift farther, and leaves others alone", () => {
    const cursor = cursorOf();
    expect(press("ArrowRight")).toBe(true);
    expect(cursor.place).toBe(0);
    press("ArrowRight", { shiftKey: true });
    expect(cursor.place).toBe(9);
    expect(press("ArrowRight", { ctrlKey: true })).toBe(false);
    expect(press("r")).toBe(false);
  });

  it("stays under the keyboard when the pointer leaves, and goes with the focus", () => {
    const cursor = cursorOf();
    plot.focus();
    expect(cursor.place).toBe(0);
    press("ArrowRight");
    point("pointerleave", 0);
    expect(cursor.place).toBe(1);
    plot.blur();
    expect(cursor.place).toBeNull();
  });

  it("holds nothing where that means nothing", () => {
    const cursor = cursorOf({ canHold: false });
    point("click", 35);
    expect(press("Enter")).toBe(false);
    expect(cursor.isHeld).toBe(false);
  });
});

describe("ChoiceButtons", () => {
  const CHOICES = [{ name: "a", label: "First" }, { name: "b", label: "Second", title: "The other" }];

  it("shows which one is chosen, and keeps the same buttons", () => {
    const onChoose = vi.fn();
    const choices = new ChoiceButtons("group", "Which", onChoose);
    choices.show(CHOICES, "a");
    const [first, second] = choices.element.children;
    second.click();
    expect(onChoose).toHaveBeenCalledWith("b");
    choices.show(structuredClone(CHOICES), "b");
    expect(choices.element.children[1]).toBe(second);
    expect([first, second].map((button) => button.getAttribute("aria-pressed"))).toEqual(["false", "true"]);
    expect(second.title).toBe("The other");
  });

  it("can have nothing to choose from", () => {
    const choices = new ChoiceButtons("group", "Which", () => {});
    choices.show(CHOICES, "a");
    choices.show([], undefined);
    expect(choices.element.children).toHaveLength(0);
  });
});

describe("oncePerScreenFrame", () => {
  it("acts once for many calls, and again afterwards", async () => {
    const act = vi.fn();
    const request = oncePerScreenFrame(act);
    for (let i = 0; i < 5; i++) request();
    await new Promise(requestAnimationFrame);
    request();
    await new Promise(requestAnimationFrame);
    expect(act).toHaveBeenCalledTimes(2);
  });
});

describe("measureText", () => {
  it("asks the canvas, at the size that is drawn", () => {
    expect(measureText("four", 10)).toBeCloseTo(4 * 5.6);
    expect(measureText("four", 20)).toBeCloseTo(4 * 11.2);
  });
});
