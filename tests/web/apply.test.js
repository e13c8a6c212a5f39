import { expect, it, vi } from "vitest";

import { applyTo, targetsFor } from "../../web/graph/apply.js";

const page = vi.hoisted(() => ({ nodes: [] }));
vi.mock("../../web/comfy_adapter.js", () => ({
  asOneChange: (act) => act(),
  nodesOfClass: (name) => page.nodes.filter(({ comfyClass }) => comfyClass === name),
  readersOf: () => [],
  setWidgets: (node, values) => node.widgets.forEach((widget) => (widget.value = values[widget.name] ?? widget.value)),
}));

const sampler = (id) => ({
  id,
  title: `Sampler ${id}`,
  comfyClass: "SCOPE_Sampler",
  graph: { id: "root" },
  widgets: [{ name: "preset", value: "balanced", options: { values: ["balanced", "custom"] } }, { name: "decay", value: 1 }],
  inputs: [],
});

it("settings reach the node that was chosen, or none where it was removed since", () => {
  const found = { label: "mine", widgets: { decay: 0.5 } };
  page.nodes = [sampler(1), sampler(2)];
  const [first, second] = targetsFor(found);
  page.nodes = page.nodes.slice(1);
  expect(applyTo(found, first.id)).toBe("This node is not there any more.");
  expect(page.nodes[0].widgets[1].value).toBe(1);
  expect(applyTo(found, second.id)).toMatch(/^Sampler 2 is set to "mine"/);
  expect(page.nodes[0].widgets.map(({ value }) => value)).toEqual(["custom", 0.5]);
});
