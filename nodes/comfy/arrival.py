"""Makes the object in PAYLOAD in a process that has the host on its path but has not loaded this pack.

`travelling.Travels` has it run there, with NAME and FOLDER of the pack. Only what the object needs is imported, under
the names that it has at home; neither the nodes nor the host's server are.
"""

import pickle
import sys
from types import ModuleType

given = globals()
pack, home = given["NAME"], given["FOLDER"]

for name, folder in (pack, home), (f"{pack}.nodes", f"{home}/nodes"):
    if name not in sys.modules:
        room = ModuleType(name)
        room.__path__ = [folder]
        sys.modules[name] = room

kind, state = pickle.loads(given["PAYLOAD"])
made = kind.__new__(kind)
made.__dict__.update(state)
