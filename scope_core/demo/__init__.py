"""The demo model: a small world, and how the model that ships with the pack was trained on it.

`world` renders captioned clips, `train` makes the weights in `weights/`, `evaluate` measures them.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
