"""Objects that pickle into processes which have not loaded this pack, as the workers of Ray."""

import operator
import pickle
import runpy
from pathlib import Path
from typing import Any

PACK = __name__.removesuffix(".nodes.comfy.travelling")
FOLDER = Path(__file__).parents[2]


class Arrived:
    """The globals of arrival.py, once it has run where this is unpickled."""

    def __init__(self, payload: bytes):
        self.payload = payload

    def __reduce__(self) -> tuple:
        names = {"NAME": PACK, "FOLDER": str(FOLDER), "PAYLOAD": self.payload}
        return runpy.run_path, (str(FOLDER / "nodes" / "comfy" / "arrival.py"), names)


class Travels:
    """The host loads packs from files, so no other process can import one by its name. What is pickled brings along
    where the pack is; everything in it then pickles as usual, classes and functions by their names."""

    def state(self) -> dict[str, Any]:
        """What goes along, by attribute."""
        return self.__dict__

    def __reduce__(self) -> tuple:
        return operator.getitem, (Arrived(pickle.dumps((type(self), self.state()))), "made")
