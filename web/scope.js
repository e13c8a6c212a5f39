import { addElement, loadStyleSheet, nodeByExecutionId, onServerMessage, readersOf, registerNodes } from "./comfy_adapter.js";
import { Timeline } from "./timeline.js";

/** @type {WeakMap<object, Timeline>} */
const timelines = new WeakMap();

loadStyleSheet(new URL("./scope.css", import.meta.url).href);

registerNodes({
  name: "SCOPE.Timeline",
  nodeClasses: ["SCOPE_Timeline"],
  created(node) {
    const timeline = new Timeline();
    timelines.set(node, timeline);
    addElement(node, {
      name: "scope_timeline",
      element: timeline.element,
      minHeight: 250,
      size: [520, 360],
      connect: () => timeline.connect(),
      disconnect: () => timeline.disconnect(),
    });
  },
  output(node, { scope_trace: traces }) {
    if (traces?.length) timelines.get(node)?.show(traces[0]);
  },
});

onServerMessage("scope.step", (event) => {
  const source = nodeByExecutionId(event.node);
  if (!source) return;
  for (const node of [source, ...readersOf(source)]) timelines.get(node)?.follow(event);
});
