"""What it costs to keep a run on disk: `python -m tests.resume_cost`, with a Python that has torch.

The demo of SkyReels-V2, by turns kept and not, in one process; then one state of the size that SkyReels-V2 1.3B has at
544x960. Prints the seconds that keeping took for each chunk, and their share of chunks that take as long as real ones.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from scope_core import PRESETS, SKYREELS, disk, sample
from scope_core.demo.shipped import SkyReelsDemo
from scope_core.demo.words import tokenize
from scope_core.loop.checkpoint import Keeper
from scope_core.loop.codec import pack

RUNS = 3
CHUNK_SECONDS = {"SkyReels-V2 1.3B, 544x960, H100, every step": 13.7, "the same at 2.5 times fewer evaluations": 5.5}
"""Of five iterations of a window of 25 latent frames, by tests/reports/gpu_check.json."""
FULL_SIZE = (1, 16, 25, 68, 120)
TENSORS = 12
"""Latents, the solver's memory (3), that of the correction (5) and three velocities."""


class Timed(Keeper):
    spent = 0.0
    times = 0

    def write(self, *what) -> None:
        began = time.perf_counter()
        super().write(*what)
        self.spent += time.perf_counter() - began
        self.times += 1


def main() -> None:
    demo, schedule = SkyReelsDemo(), SKYREELS.schedule(16, 20, 16, block=1, ar_step=2)
    model, noise = demo.model(torch.tensor(tokenize("a red circle"))[None], schedule), torch.randn(1, 16, 16, 16, 16)
    seconds: dict[str, list[float]] = {"off": [], "on": []}
    a_chunk = []
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            for way, keeper in (("off", None), ("on", Timed(Path(folder)))):
                began = time.perf_counter()
                sample(model, noise, schedule, PRESETS["balanced"], keeper=keeper)
                seconds[way].append(time.perf_counter() - began)
                if keeper:
                    a_chunk.append(keeper.spent / keeper.times)
        state = [torch.randn(FULL_SIZE) for _ in range(TENSORS)]
        began = time.perf_counter()
        data = pack(state)
        disk.checksum(data)
        disk.write(Path(folder) / "state", data, lasting=True)
        full = time.perf_counter() - began
    off, on = (median(seconds[way]) for way in ("off", "on"))
    print(f"demo: {off:.2f} s without, {on:.2f} s with, ratio {on / off:.4f}; {1000 * median(a_chunk):.1f} ms a chunk")
    print(f"a state of full size: {len(data) / 1e6:.0f} MB, {1000 * full:.0f} ms")
    for name, chunk in CHUNK_SECONDS.items():
        print(f"of a chunk of {chunk} s ({name}): demo {median(a_chunk) / chunk:.2%}, full size {full / chunk:.2%}")


if __name__ == "__main__":
    main()
