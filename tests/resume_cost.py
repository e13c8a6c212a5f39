"""What it costs to keep a run on disk: `python -m tests.resume_cost`, with a Python that has torch.

The demo of SkyReels-V2, by turns kept and not, in one process; then one state of the size that SkyReels-V2 1.3B has at
544x960. Prints the time that keeping took for each chunk, and its share of chunks that take as long as real ones. The
clock of a busy machine says too much; the processor's time says what is lost without the disk.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from scope_core import PRESETS, SKYREELS, disk, sample
from scope_core.demo.shipped import SkyReelsDemo
from scope_core.demo.words import tokenize
from scope_core.loop.checkpoint import Keeper
from scope_core.loop.codec import snapshot

RUNS = 3
CHUNK_SECONDS = {"SkyReels-V2 1.3B, 544x960, H100, every step": 13.7, "the same at 2.5 times fewer evaluations": 5.5}
"""Of five iterations of a window of 25 latent frames, by tests/reports/gpu_check.json."""
FULL_SIZE = (1, 16, 25, 68, 120)
TENSORS = 12
"""Latents, the solver's memory (3), that of the correction (5) and three velocities."""


class Timed(Keeper):
    def __init__(self, root: Path):
        super().__init__(root)
        self.clock: list[float] = []
        self.processor: list[float] = []

    def prepare(self, *what) -> Callable[[], None]:
        """The run waits for this; what it gives is called beside the next iteration."""
        clock, processor = time.perf_counter(), time.thread_time()
        write = super().prepare(*what)
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.thread_time() - processor)
        return write


def main() -> None:
    demo, schedule = SkyReelsDemo(), SKYREELS.schedule(16, 12, 16, block=4, ar_step=3)
    model, noise = demo.model(torch.tensor(tokenize("a red circle"))[None], schedule), torch.randn(1, 16, 16, 16, 16)
    seconds: dict[str, list[float]] = {"off": [], "on": []}
    clock, processor = [], []
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            for way, keeper in (("off", None), ("on", Timed(Path(folder)))):
                began = time.perf_counter()
                sample(model, noise, schedule, PRESETS["balanced"], keeper=keeper)
                seconds[way].append(time.perf_counter() - began)
                if keeper:
                    clock += keeper.clock
                    processor += keeper.processor
        state = [torch.randn(FULL_SIZE) for _ in range(TENSORS)]
        began, worked = time.perf_counter(), time.thread_time()
        packed = snapshot(state)
        waits, waits_processor = time.perf_counter() - began, time.thread_time() - worked
        data = packed()
        disk.checksum(data)
        disk.write(Path(folder) / "state", data, lasting=True)
        beside = time.thread_time() - worked - waits_processor
    off, on = (median(seconds[way]) for way in ("off", "on"))
    print(f"demo: {off:.2f} s without, {on:.2f} s with; ratio {on / off:.4f}")
    print(f"a chunk of the demo: {1000 * median(clock):.1f} ms, of the processor {1000 * median(processor):.1f} ms")
    print(
        f"a state of full size: {len(data) / 1e6:.0f} MB; the run waits {1000 * waits:.0f} ms, of the processor", end=""
    )
    print(f" {1000 * waits_processor:.0f} ms; beside the next iteration another {1000 * beside:.0f} ms of it")
    for name, chunk in CHUNK_SECONDS.items():
        print(f"of a chunk of {chunk} s ({name}): {median(clock) / chunk:.2%} with the demo's state")


if __name__ == "__main__":
    main()
