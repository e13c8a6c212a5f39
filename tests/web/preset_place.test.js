import { describe, expect, it } from "vitest";

import { restoreOrder, saveInOrder, showPresetFirst } from "../../web/graph/preset_place.js";

const LAST = ["method", "method.threshold", "method.max_skip", "method.preset", "plan"];
const FIRST = ["method", "method.preset", "method.threshold", "method.max_skip", "plan"];
const widget = (name) => ({ name, value: `value of ${name}`, serialize: name !== "plan" });
const nodeOf = (names) => ({ widgets: names.map(widget) });
const namesOf = ({ widgets }) => widgets.map(({ name }) => name);
const save = (node) => {
  const saved = { widgets_values: node.widgets.filter(({ serialize }) => serialize).map(({ value }) => value) };
  saveInOrder(node, saved);
  return saved.widgets_values;
};
const VALUES = LAST.slice(0, -1).map((name) => `value of ${name}`);

describe("the place of the preset", () => {
  it("is first on the screen and last in a file", () => {
    const node = nodeOf(LAST);
    showPresetFirst(node);
    expect(namesOf(node)).toEqual(FIRST);
    expect(save(node)).toEqual(VALUES);
    showPresetFirst(node);
    expect(save(node)).toEqual(VALUES);
    restoreOrder(node);
    expect(namesOf(node)).toEqual(LAST);
    expect(save(node)).toEqual(VALUES);
  });

  it("stays where it is for methods that have always had it first, and for nodes without one", () => {
    for (const names of [FIRST, ["method", "plan"], ["steps", "preset"]]) {
      const node = nodeOf(names);
      showPresetFirst(node);
      expect(namesOf(node)).toEqual(names);
    }
  });

  it("follows the method, whose widgets are other ones", () => {
    const node = nodeOf(LAST);
    showPresetFirst(node);
    node.widgets = ["method", "method.interval", "method.preset", "plan"].map(widget);
    expect(save(node)).toEqual(["method", "method.interval", "method.preset"].map((name) => `value of ${name}`));
    showPresetFirst(node);
    expect(namesOf(node)).toEqual(["method", "method.preset", "method.interval", "plan"]);
    expect(save(node)).toEqual(["method", "method.interval", "method.preset"].map((name) => `value of ${name}`));
  });
});
