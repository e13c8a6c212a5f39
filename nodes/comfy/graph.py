"""A graph in ComfyUI's API format, as the nodes see it while it runs and as the browser sends it for a plan."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

MOST_NODES = 300


class GraphError(ValueError):
    """A graph that does not make sense."""


def is_link(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


class Graph:
    """`node(id)` gives {"class_type": ..., "inputs": {...}} or raises GraphError; `ids` are those of all nodes, where
    they are known."""

    def __init__(self, node: Callable[[str], dict[str, Any]], ids: tuple[str, ...] = ()):
        self.node, self.ids = node, ids

    @classmethod
    def of(cls, prompt: Any) -> "Graph":
        """Raises GraphError for what is not a graph."""
        if not isinstance(prompt, dict) or len(prompt) > MOST_NODES:
            raise GraphError(f"`prompt` has to be a graph of at most {MOST_NODES} nodes in ComfyUI's API format")
        for name, node in prompt.items():
            if (
                not isinstance(node, dict)
                or not isinstance(node.get("class_type"), str)
                or not isinstance(node.get("inputs"), dict)
            ):
                raise GraphError(f"node {name[:40]!r} needs a class_type and inputs")

        def found(name: str) -> dict[str, Any]:
            if name not in prompt:
                raise GraphError(f"node {name[:40]!r} is not in the graph; connect another one in its place")
            return prompt[name]

        return cls(found, tuple(prompt))

    def inputs(self, node: str) -> dict[str, Any]:
        return self.node(node)["inputs"]

    def source(self, node: str, name: str) -> str | None:
        """The node behind an input, None where nothing is connected."""
        value = self.inputs(node).get(name)
        return value[0] if is_link(value) else None

    def upstream(self, node: str) -> Iterator[str]:
        """A node and all those that it depends on, the nearest first."""
        found = [node]
        for each in found:
            yield each
            sources = [value[0] for value in self.inputs(each).values() if is_link(value)]
            found += dict.fromkeys(source for source in sources if source not in found)

    def identity(self, node: str, name: str) -> str:
        """A name for everything upstream of an input: the same classes, widgets and links give the same one."""
        return digest(self.describe(self.inputs(node).get(name), {}, ()))

    def identity_of(self, node: str) -> str:
        """The same of a node and everything upstream of it."""
        return digest(self.describe([node, 0], {}, ()))

    def describe(self, value: Any, digests: dict[str, str], path: tuple[str, ...]) -> Any:
        """An input's value with the digest of what it comes from in place of a node's id."""
        if not is_link(value):
            return int(value) if isinstance(value, float) and value.is_integer() else value
        source, slot = value
        if source in path:
            raise GraphError(f"the graph goes in circles at node {source[:40]!r}; remove a link of the circle")
        if source not in digests:
            node = self.node(source)
            inputs = {
                name: self.describe(node["inputs"][name], digests, (*path, source)) for name in sorted(node["inputs"])
            }
            digests[source] = digest([node["class_type"], inputs])
        return [digests[source], slot]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
