"""Tests of scope_core alone: no ComfyUI in this process."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
