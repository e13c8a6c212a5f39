"""Runs of the demo models as an earlier version made them, bit for bit: every preset and every method on three
schedules.

They were recorded before the code was rearranged. `python -m tests.recordings --here` records the present code instead,
for when a change is meant to change results.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FILE = Path(__file__).parent / "fixtures" / "recordings.json"
SEED, THREADS, EVERY = 3, 2, 97
GATE = {"max_skip": 3, "warm_up": 1, "tail": 1}
"""Of methods that are no presets, so that short schedules leave them something to skip."""
EAGER = {
    "arcache": {"length": "none", "threshold": 0.5},
    "reduced": {"computed": 6},
    "easycache": {"tau": 0.3},
    "motioncache": {"threshold": 0.1},
    "dpcache": {"steps": (1, 2, 3, 6, 9, 12)},
}
"""Numbers of methods that skip nothing on these schedules at their usual ones."""
SCHEDULES = ("synchronous", "asynchronous", "chunk_by_chunk")
GROWTH = 0.98
"""Of the residual from step to step, for methods that would look for a calibration."""


def described(latents: Tensor, trace: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: its decisions, counts, a digest of its latents and some of their numbers."""
    segments = [
        {name: [step[name] for step in segment["steps"]] for name in ("modes", "rules", "scores", "frames")}
        for segment in trace["segments"]
    ]
    counts = {
        name: trace["totals"][name]
        for name in ("iterations", "computed", "forwards", "frames_computed", "memory_bytes")
    }
    numbers = latents.flatten()[::EVERY].float().numpy()
    return {
        "segments": segments,
        "totals": counts,
        "latents": hashlib.sha256(latents.contiguous().numpy().tobytes()).hexdigest(),
        "numbers": base64.b64encode(numbers.tobytes()).decode(),
    }


def numbers(recorded: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(recorded["numbers"]), np.float32)


def cases() -> dict[str, dict[str, Any]]:
    """Settings by name, flat as traces hold them."""
    from scope_core import METHODS, PRESETS, Settings

    found = {name: settings.to_json() for name, settings in PRESETS.items()}
    found |= {
        name: Settings(method(**EAGER.get(name, {}))).to_json() | GATE
        for name, method in METHODS.items()
        if method.offered
    }
    return json.loads(json.dumps(found))


def runs(found: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every case on every schedule, as described; planned steps by the rule, since shipped plans are found anew now and
    then."""
    from scope_core import MAGI, SKYREELS, Settings
    from scope_core.demo.shipped import MagiDemo, SkyReelsDemo
    from scope_core.demo.training.world import Clips

    skyreels, magi = SkyReelsDemo(), MagiDemo()
    skyreels.plans = magi.plans = []
    tokens = Clips.sample(1, torch.Generator().manual_seed(123)).tokens()
    ways = {
        "synchronous": (skyreels, SKYREELS.schedule(8, 16, 8)),
        "asynchronous": (skyreels, SKYREELS.schedule(8, 14, 8, ar_step=2)),
        "chunk_by_chunk": (magi, MAGI.schedule(18, 16)),
    }
    for way, (demo, schedule) in ways.items():
        for name, settings in found.items():
            flat = dict(settings)
            if "ratios" in flat:
                flat["ratios"] = [1.0] + [GROWTH] * (schedule.steps - 1)
            made = demo.sample(tokens, schedule, Settings.from_json(flat), SEED)
            yield f"{way}, {name}", described(made.latents, made.trace.to_json())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recordings", description=__doc__)
    parser.add_argument("--here", action="store_true", required=True, help="record in this Python, which has torch")
    parser.parse_args()
    torch.set_num_threads(THREADS)
    found = cases()
    FILE.write_text(json.dumps({"settings": found, "runs": dict(runs(found))}, indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
