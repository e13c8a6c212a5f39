"""The demo models: a small world, and how the models that ship with the pack, one a family, were trained on it.

`world` renders captioned clips, `train` makes the weights in `weights/`, `evaluate` measures them.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
