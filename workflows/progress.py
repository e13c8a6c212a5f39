"""How far a run is, on a terminal or in a log."""

import sys


class Progress:
    """Shows which node works, and how far it is: one changing line on a terminal, a line now and then elsewhere."""

    def __init__(self, prompt: dict):
        self.prompt = prompt
        self.title, self.quarters = "", 0
        self.on_terminal = sys.stdout.isatty()

    def __call__(self, kind: str, data: dict):
        if kind == "executing" and data["node"]:
            node = self.prompt.get(data["display_node"])
            self.title, self.quarters = node["_meta"]["title"] if node else data["node"], 0
            self._show(self.title)
        elif kind == "progress":
            quarters = data["value"] * 4 // data["max"]
            if self.on_terminal or quarters > self.quarters:
                self._show(f"{self.title}: {data['value']:.0f} of {data['max']:.0f}")
            self.quarters = quarters

    def _show(self, text: str):
        begin, end = ("\r\033[K", "") if self.on_terminal else ("", "\n")
        print(f"{begin}  {text}", end=end, flush=True)

    def close(self):
        if self.on_terminal:
            print("\r\033[K", end="", flush=True)
