import { afterEach, describe, expect, it } from "vitest";

import { linear, paddedRange, tickStep, ticks } from "../../web/lib/axes.js";
import { clamp } from "../../web/lib/clamp.js";
import { chunkAt, timeText } from "../../web/lib/clip.js";
import { shortUnit } from "../../web/lib/fidelity.js";
import { decimal, duration, factorText, percent, rangeText } from "../../web/lib/formats.js";
import { fill, speak, t } from "../../web/lib/language.js";
import { PayloadError, readOrExplain, readPayload } from "../../web/lib/payload.js";
import { asSentence, capitalised } from "../../web/lib/sentences.js";
import { wrapText } from "../../web/lib/text_measure.js";
import { measure } from "./page_stubs.js";

describe("clamp", () => {
  it.each([[5, 5], [-1, 0], [11, 10], [Infinity, 10], [-Infinity, 0]])("keeps %d between 0 and 10 as %d", (value, kept) => {
    expect(clamp(value, 0, 10)).toBe(kept);
  });
});

describe("numbers in words", () => {
  it.each([[0.31234, "0.312"], [1, "1"], [0, "0"], [0.99994, "1"], [0.00031, "0.00031"]])("%d is %s", (number, text) => {
    expect(decimal(number)).toBe(text);
  });

  it("keeps as many digits as are asked for", () => {
    expect(decimal(36.2512, 4)).toBe("36.25");
    expect(decimal(1234567, 2)).toBe("1200000");
  });

  it.each([[0.031, "31 ms"], [0.9999, "1.0 s"], [3.21, "3.2 s"], [59.96, "1 min 0 s"], [125.4, "2 min 5 s"]])(
    "%d seconds are %s",
    (seconds, text) => expect(duration(seconds)).toBe(text),
  );

  it.each([[2.6, "2.60x fewer"], [1, "1.00x fewer"], [0.8, "1.25x more"]])("a factor of %d is %s", (factor, text) => {
    expect(factorText(factor, "{factor}x fewer", "{factor}x more")).toBe(text);
  });

  it("takes other digits for factors", () => expect(factorText(2.53, "{factor}x faster", "{factor}x slower", 1)).toBe("2.5x faster"));
  it("writes shares", () => expect(percent(320, 2000)).toBe("16%"));

  it("writes ranges without their end", () => {
    expect(rangeText(5, 10)).toBe("5–9");
    expect(rangeText(5, 6)).toBe("5");
  });

  it("writes units only where they are short", () => {
    expect([{ unit: "dB" }, { unit: "relative" }, { unit: "" }].map(shortUnit)).toEqual(["dB", "", ""]);
  });
});

describe("sentences", () => {
  it("begin with a capital letter and end with one full stop", () => {
    expect(capitalised("step 3")).toBe("Step 3");
    expect(asSentence(" because it is off. ")).toBe("Because it is off.");
    expect(asSentence("decay 0.75, tail 1")).toBe("Decay 0.75, tail 1.");
  });
});

describe("frames of a clip", () => {
  it("have a chunk and a time", () => {
    expect([0, 16, 17].map((frame) => chunkAt(frame, [[0, 17], [17, 37]]))).toEqual([0, 0, 1]);
    expect(chunkAt(37, [[0, 17], [17, 37]])).toBe(-1);
    expect(timeText(12, 24)).toBe("0.50 s");
  });
});

describe("axes", () => {
  it("place values in either direction", () => {
    expect(linear([0, 10], [100, 200])(2.5)).toBe(125);
    expect(linear([0, 10], [200, 100])(2.5)).toBe(175);
  });

  it("have round ticks", () => {
    expect([0.3, 1, 1.2, 6, 40].map(tickStep)).toEqual([0.5, 1, 2, 10, 50]);
    expect(ticks(0.5, 9, 4)).toEqual([5]);
    expect(ticks(0, 9, 5)).toEqual([0, 2, 4, 6, 8]);
  });

  it("are never empty", () => {
    expect(paddedRange([4, 6], 0.5)).toEqual([3, 7]);
    expect(paddedRange([4], 0.5)).toEqual([2, 6]);
    expect(paddedRange([0], 0.5)).toEqual([-0.5, 0.5]);
  });
});

describe("payloads", () => {
  const expected = { format: "scope.thing", version: 2, name: "thing" };
  const read = (payload) => () => readPayload(payload, expected);

  it("are what they are in this and earlier versions", () => {
    for (const version of [1, 2]) expect(read({ format: "scope.thing", version, more: 1 })()).toMatchObject({ version, more: 1 });
  });

  it.each([[null], [undefined], ["text"], [[]], [{ format: "scope.other", version: 1 }]])("are refused in one sentence: %j", (payload) => {
    expect(read(payload)).toThrow(PayloadError);
    expect(read(payload)).toThrow(/^This is not a SCOPE thing\.$/);
  });

  it("of a newer version say what to do", () => {
    expect(read({ format: "scope.thing", version: 3 })).toThrow("This thing has format version 3, and this widget reads up to 2. Update SCOPE to see it.");
  });

  it("become a value or a sentence to show", () => {
    expect(readOrExplain(() => 7)).toEqual({ value: 7, problem: "" });
    expect(readOrExplain(read({}))).toEqual({ value: null, problem: "This is not a SCOPE thing." });
  });

  it("do not hide other errors", () => {
    const broken = () => {
      throw new TypeError("a bug");
    };
    expect(() => readOrExplain(broken)).toThrow(TypeError);
  });
});

describe("wrapText", () => {
  it("wraps text at spaces", () => {
    expect(wrapText("one two three", 50, 11, measure)).toEqual(["one two", "three"]);
    expect(wrapText("", 50, 11, measure)).toEqual([]);
  });

  it("goes by the width of the letters, not by their number", () => {
    const proportional = (text) => [...text].reduce((width, letter) => width + (letter === "m" ? 10 : 2), 0);
    expect(wrapText("iiii iiii mmm mm", 32, 11, proportional)).toEqual(["iiii iiii", "mmm", "mm"]);
  });

  it("leaves a word alone that is too long", () => {
    expect(wrapText("a incomprehensibilities b", 50, 11, measure)).toEqual(["a", "incomprehensibilities", "b"]);
  });
});

describe("texts in another language", () => {
  afterEach(() => speak({}));

  it("are found by the English text, and filled in", () => {
    speak({ "{computed} of {iterations} evaluations": "{iterations} 次求值中的 {computed} 次" });
    expect(t("{computed} of {iterations} evaluations", { computed: 48, iterations: 125 })).toBe("125 次求值中的 48 次");
  });

  it("are English where there is no translation", () => expect(t("Step {number}.", { number: 3 })).toBe("Step 3."));
  it("keep the place of a value that comes later", () => expect(fill(t("{factor}x fewer"), {})).toBe("{factor}x fewer"));
});
