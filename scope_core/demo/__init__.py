"""The demo models: small networks, one a family, trained on a small world of coloured shapes.

`words` is what prompts may say, `shipped` the models as they run, `training` the world and how they were made and
judged.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
