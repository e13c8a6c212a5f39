"""What skipping gains by the clock on a GPU: `python -m tests.gpu_check`, with a Python that has torch, such as
ComfyUI's.

SkyReels-V2 DF 1.3B (257 frames of 544x960), MAGI-1 4.5B (240 frames of 480x480), Wan 2.1 T2V 1.3B as one chunk and
causal Wan 1.3B (81 frames of 480x832), and Helios-Base 14B (132 frames of 384x640) in bf16, of full size but with
random weights and captions, which cost the same as the released ones. Every way of skipping follows the same script,
two of three iterations skipped, so that only its own cost differs; what matters is the speed-up by the clock over that
in floating-point operations. Of the SkyReels video the first of three windows is made: the others forward the same 25
latent frames; of the Helios video the first of four chunks. Neither text encoder nor autoencoder runs.

`--methods` measures the methods of the benchmark instead, on shorter videos of SkyReels-V2 and MAGI-1: what each costs
beside the network, what it keeps, and how often the host waits for the device. Signals of random weights mean nothing,
so each method is given thresholds that no change reaches, and the gate has one of three steps computed.

Prints, and writes gpu_check.json and gpu_check.md, row by row; what an earlier run left there stays.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scope_core import CAUSAL_WAN, FLOW, HELIOS, MAGI, SKYREELS, __version__
from scope_core.families import helios
from scope_core.families.causal_wan import GuidedChunks
from scope_core.families.flow import FlowModel
from scope_core.families.magi import ChunkModel, Reach, step_size
from scope_core.families.skyreels import Guided
from scope_core.loop.residuals import BlockPass
from scope_core.loop.sample import Model, sample
from scope_core.methods import BudCache, Decision, Entry, Gate, Method, Mode, Skip
from scope_core.methods.predict import extrapolate
from scope_core.networks.chunk_cache import ChunkCache
from scope_core.networks.helios import HeliosTransformer
from scope_core.networks.magi import MAGI_4_5B, MagiConfig, MagiTransformer
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.schedule import ARSchedule, Step, Unit
from scope_core.settings import PRESETS, Settings
from scope_core.study.metrics import count_flops
from tests.bench.methods import Ranked
from tests.bench.methods import methods as of_benchmark

EVERY = 3
"""Iterations between two computed ones, counted from one to the other; a chunk's first step is computed as well."""
GOAL = 0.95
"""Least speed-up by the clock over that in operations, of the ways that reuse the output."""
WAYS = {
    "output": "the last velocity again",
    "line": "a line through the last two velocities, as SCOPE predicts",
    "blocks": "the last change that all blocks made",
    "half": "the last change that the middle half of the blocks made",
}
OF_OUTPUT = ("output", "line")
FREE = {"threshold": 100.0, "tau": 100.0, "tau_p": 100.0, "tau_c": 0.0}
"""Thresholds that no change reaches; below SCOPE's first one it would reuse what it is to predict."""


@dataclass(frozen=True)
class Scripted(Method):
    """Skips by the script, in one of WAYS. `lag`: iterations that a chunk starts behind the one before it."""

    name = "scripted"
    title = "Every third iteration"

    way: str
    lag: int

    @property
    def depth(self) -> int:
        return {"output": 1, "line": 2}.get(self.way, 0)

    def decide(self, state: None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        iteration = unit.step - 1 + self.lag * unit.index
        if unit.step == 1 or iteration % EVERY == 0:
            return Decision(Mode.RECOMPUTE, 0.0, "threshold")
        return Decision(Mode.PREDICT, 0.0, "predict") if self.way == "line" else Decision(Mode.REUSE, 0.0, "cache")

    def value(self, state: None, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        if decision.mode is Mode.REUSE:
            return history[0].value
        return extrapolate(
            "taylor1", unit.sigma, [entry.sigma for entry in history], [entry.value for entry in history]
        )

    def skip(self, state: None, unit: Unit, layers: int) -> Skip | None:
        if self.way in OF_OUTPUT:
            return None
        span = range(layers) if self.way == "blocks" else range(layers // 4, layers // 4 + layers // 2)
        return Skip((span,), span)


def ways(schedule: ARSchedule) -> dict[str, Settings]:
    return {way: Settings(Scripted(way, schedule.ar_step), Gate(EVERY - 1)) for way in WAYS}


def ranked(schedule: ARSchedule) -> dict[str, Ranked]:
    """Methods of the benchmark, and that which it leaves out, as if a recorded run had shown nothing: velocities that
    have nothing in common, and residuals that stay as large as they are."""
    gram = tuple(map(tuple, np.eye(schedule.steps).tolist()))
    searched = Ranked(BudCache.title, lambda computed: Settings(BudCache(int(computed))), (4.0,))
    return of_benchmark("synchronous", schedule.family, (1.0,), gram) | {BudCache.name: searched}


def methods(schedule: ARSchedule) -> dict[str, Settings]:
    """Every method where it skips most, behind a gate that has one of three steps computed; ours, which plans its
    steps, at the usual speed."""

    def freed(chosen: Settings) -> Settings:
        method = chosen.method
        free = {name: value for name, value in FREE.items() if hasattr(method, name)}
        return replace(chosen, method=replace(method, **free), gate=Gate(EVERY - 1))

    found = {name: freed(method.settings(method.knobs[-1])) for name, method in ranked(schedule).items()}
    return found | {"planned": PRESETS["balanced"]}


TITLES = {
    "original": "nothing: all are computed",
    **WAYS,
    **{name: method.title for name, method in ranked(SKYREELS.schedule(1, 4)).items()},
}
"""Of rows."""


class Counted:
    """A network that counts its calls, and the blocks they ran, by shape. One forward of each shape without any block
    and one with a single block then tell the floating-point operations of all. What signals ask of it is counted too.
    """

    def __init__(self) -> None:
        self.calls, self.ran, self.asked = Counter(), Counter(), Counter()
        self.known: dict[Hashable, int] = {}
        """Operations, counted once."""

    def blank(self, shape: tuple, around: Callable) -> object:
        """A forward of this shape, of anything finite."""
        raise NotImplementedError

    def counting(self, shape: tuple, around: Callable | None) -> Callable:
        self.calls[shape] += 1

        def count(i: int, hidden: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
            def counted(hidden: Tensor) -> Tensor:
                self.ran[shape] += 1
                return block(hidden)

            return counted(hidden) if around is None else around(i, hidden, counted)

        return count

    def asking(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What a part of the network makes of x."""
        self.asked[part, x.shape, x.dtype, x.device] += 1
        return part(x)

    def flops(self, key: Hashable, run: Callable[[], object]) -> int:
        if key not in self.known:
            self.known[key] = count_flops(run)
        return self.known[key]

    def take_flops(self) -> int:
        """Operations since this was last asked."""
        total = 0
        for shape, calls in self.calls.items():
            none, one = (
                self.flops(
                    (shape, blocks),
                    lambda: self.blank(shape, lambda i, hidden, block: block(hidden) if i < blocks else hidden),
                )
                for blocks in (0, 1)
            )
            total += calls * none + self.ran[shape] * (one - none)
        for key, calls in self.asked.items():
            part, shape, dtype, device = key
            total += calls * self.flops(key, lambda: part(torch.zeros(shape, dtype=dtype, device=device)))
        self.calls, self.ran, self.asked = Counter(), Counter(), Counter()
        return total


class SkyReels(Counted):
    """A window of SkyReels-V2 DF with guidance, its chunks five iterations apart."""

    title, steps = "SkyReels-V2 DF 1.3B", 12
    measured = "the first of three windows, 25 latent frames of 68x120; guidance 6"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__()
        self.device, self.dtype = device, dtype
        config = (
            WanConfig(96, 192, 2, 2, text_dim=16)
            if tiny
            else WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
        )
        self.frames, self.size, self.text = (10, (4, 6), 8) if tiny else (25, (68, 120), 512)
        with device:
            self.model = WanTransformer(config).to(dtype).requires_grad_(False)
            self.captions = torch.randn(2, 1, self.text, config.text_dim, dtype=dtype)
        self.blocks = self.model.blocks

    def __call__(self, x: Tensor, t: Tensor, context: Tensor, mask: None, around: Callable | None) -> Tensor:
        return self.model(x.to(self.dtype), t, context, mask, self.counting(tuple(x.shape), around))

    def time_embed(self, t: Tensor) -> Tensor:
        return self.asking(self.model.time_embed, t)

    def time_projection(self, e: Tensor) -> Tensor:
        return self.asking(self.model.time_projection, e)

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.asking(self.model.patch_embedding, x.to(self.dtype))

    def blank(self, shape: tuple, around: Callable) -> Tensor:
        x = torch.zeros(shape, device=self.device, dtype=self.dtype)
        return self.model(x, torch.zeros(1, shape[2], device=self.device), self.captions[0], None, around)

    def schedule(self, steps: int) -> ARSchedule:
        return SKYREELS.schedule(self.frames, steps, self.frames, block=5, ar_step=min(5, steps))

    @property
    def warm_up(self) -> ARSchedule:
        return SKYREELS.schedule(self.frames, 2, self.frames)

    def prompted(self) -> Model:
        return Guided(self, *self.captions, cfg=SKYREELS.defaults.cfg)


class SkyReelsTogether(SkyReels):
    """A shorter window, all its frames at one level."""

    steps = 20
    measured = "9 latent frames of 68x120, all at one level; guidance 6"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__(device, dtype, tiny)
        self.frames = 2 if tiny else 9

    def schedule(self, steps: int) -> ARSchedule:
        return SKYREELS.schedule(self.frames, steps, self.frames)


class Wan(SkyReels):
    """A model of the same size that makes the whole video at once, with guidance."""

    title = "Wan 2.1 T2V 1.3B, one chunk"
    measured = "the whole video, 21 latent frames of 60x104; guidance 6"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__(device, dtype, tiny)
        if not tiny:
            self.frames, self.size = 21, (60, 104)

    def schedule(self, steps: int) -> ARSchedule:
        return FLOW.schedule(self.frames, steps)

    @property
    def warm_up(self) -> ARSchedule:
        return self.schedule(2)

    def prompted(self) -> Model:
        return AtOnce(super().prompted())


class AtOnce(FlowModel):
    """A model of frames at their own levels, all of them at one."""

    def __init__(self, model: Model):
        self.model, self.layers = model, model.layers

    def denoised(self, x: Tensor, step: Step, around: BlockPass | None) -> Tensor:
        before = self.model.forwards
        v = self.model.velocity(x, 1000 * step.sigma, None, around)
        self.forwards += self.model.forwards - before
        return x - step.active[0].sigma * v


class CausalWan(Counted):
    """A video of causal Wan with guidance: each chunk goes through all its steps and reads the keys and values of those
    before it, which a further call for each leaves."""

    title, steps = "Causal Wan 1.3B", 12
    measured = "the whole video, 7 chunks of 3 latent frames of 60x104; guidance 3"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__()
        self.device, self.dtype = device, dtype
        self.config = (
            WanConfig(96, 192, 2, 2, text_dim=16)
            if tiny
            else WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
        )
        self.frames, self.size, self.text = (9, (4, 6), 8) if tiny else (21, (60, 104), 512)
        with device:
            self.model = WanTransformer(self.config).to(dtype).requires_grad_(False)
            self.captions = torch.randn(2, 1, self.text, self.config.text_dim, dtype=dtype)
        self.blocks = self.model.blocks

    def __call__(self, x: Tensor, t: Tensor, context: Tensor, around: Callable | None, first: int, extend: Callable):
        hook = self.counting((*x.shape, first), around)
        return self.model(x.to(self.dtype), t, context, around=hook, first=first, extend=extend)

    def blank(self, shape: tuple, around: Callable) -> Tensor:
        *shape, first = shape
        x = torch.zeros(shape, device=self.device, dtype=self.dtype)
        tokens = first * shape[3] * shape[4] // 4
        kept = torch.zeros(1, tokens, self.config.dim, device=self.device, dtype=self.dtype)

        def extend(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([kept, key], 1), torch.cat([kept, value], 1)

        t = torch.zeros(1, shape[2], device=self.device)
        return self.model(x, t, self.captions[0], around=around, first=first, extend=extend)

    def schedule(self, steps: int) -> ARSchedule:
        return CAUSAL_WAN.schedule(self.frames, steps)

    @property
    def warm_up(self) -> ARSchedule:
        return self.schedule(2)

    def prompted(self) -> Model:
        return GuidedChunks(self, *self.captions, cfg=CAUSAL_WAN.defaults.cfg)


class Magi(Counted, ChunkModel):
    """MAGI-1 distilled, four chunks at a time, each attending to all before it."""

    title, steps = "MAGI-1 4.5B, distilled", 16
    measured = "the whole video, 10 chunks of 6 latent frames of 60x60; no guidance"
    reach = Reach(noisy=())

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__()
        self.device, self.dtype = device, dtype
        config = (
            MagiConfig(layers=2, hidden=64, ffn=96, heads=16, cond=16, head_dim=8, caption_dim=24, caption_length=60)
            if tiny
            else MAGI_4_5B
        )
        self.frames, self.size, self.text = (18, (4, 6), 8) if tiny else (60, (60, 60), 300)
        self.model = MagiTransformer(config, dtype, device).requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.normal_(0, 0.02)
        self.config, self.layers = config, len(self.model.blocks)
        self.captions = torch.randn(2, config.caption_length, config.caption_dim, device=device)
        """The prompt's and the null caption."""
        self.masks = torch.arange(config.caption_length) < torch.tensor([[self.text], [50]])

    def forward(
        self,
        x: Tensor,
        times: Sequence[float],
        shape: tuple,
        cache: ChunkCache,
        keep: Sequence[int],
        dt: float,
        around: Callable,
    ) -> Tensor:
        chunks, ranges, null = shape
        context, mask = (
            torch.stack([kinds[int(none)] for none in null])[None] for kinds in (self.captions, self.masks)
        )
        return self.model(
            x,
            torch.tensor([times], dtype=torch.float32).to(self.device, non_blocking=True),
            chunks,
            ranges,
            context,
            mask,
            cache,
            keep,
            dt,
            around=around,
        )

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around) -> Tensor:
        shape = tuple(chunks), tuple(ranges), tuple(told is None for told in text)
        return self.forward(x, times, shape, cache, keep, dt, self.counting(shape, around))

    @cached_property
    def seen_at(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """By signal, what is seen at noise levels on the CPU."""
        dt = step_size(self.steps)
        return {
            name: lambda levels, name=name: self.model.features(name, levels.numpy(), dt)
            for name in ("embedding", "modulation")
        }

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.asking(self.seen_at[name], torch.from_numpy(sigma))

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.asking(self.model.patch_embedding, x)

    def blank(self, shape: tuple, around: Callable) -> Tensor:
        chunks, ranges, _ = shape
        x = torch.zeros(1, 16, 6 * len(chunks), *self.size, device=self.device)
        stored = torch.zeros(
            1,
            6 * self.size[0] * self.size[1] // 4,
            self.config.groups * self.config.head_dim,
            device=self.device,
            dtype=self.dtype,
        )
        cache = ChunkCache()
        for chunk in {chunk for span in ranges for chunk in range(*span)} - set(chunks):
            cache.put(0, chunk, stored, stored)
        return self.forward(x, [0.5] * len(chunks), shape, cache, (), 32.0, around)

    def schedule(self, steps: int) -> ARSchedule:
        return MAGI.schedule(self.frames, steps, window=4, reach=self.reach)

    @property
    def warm_up(self) -> ARSchedule:
        return self.schedule(4)

    def prompted(self) -> Model:
        return self


class MagiShort(Magi):
    """A shorter video."""

    measured = "4 chunks of 6 latent frames of 60x60; no guidance"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__(device, dtype, tiny)
        self.frames = 12 if tiny else 24


class Helios(Counted):
    """A chunk of Helios with guidance, and its history."""

    title, steps = "Helios-Base 14B", 12
    measured = "the first of four chunks, 9 latent frames of 48x80 and a history of 20; guidance 5"

    def __init__(self, device: torch.device, dtype: torch.dtype, tiny: bool):
        super().__init__()
        self.device, self.dtype = device, dtype
        config = (
            WanConfig(96, 192, 2, 2, text_dim=16)
            if tiny
            else WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40)
        )
        self.frames, self.size, self.text = (helios.CHUNK, (4, 6), 8) if tiny else (helios.CHUNK, (48, 80), 512)
        torch.set_default_dtype(dtype)
        with device:
            self.model = HeliosTransformer(config).requires_grad_(False)
            self.captions = torch.randn(2, 1, self.text, config.text_dim)
        torch.set_default_dtype(torch.float32)

    def __call__(self, x: Tensor, t: Tensor, context: Tensor, history: helios.History, around: Callable | None):
        return self.model(x.to(self.dtype), t, context, history, self.counting(tuple(x.shape), around))

    def blank(self, shape: tuple, around: Callable) -> Tensor:
        x = torch.zeros(shape, device=self.device, dtype=self.dtype)
        history = helios.History.of(x[:, :, :1], x[:, :, :0])
        return self.model(x, torch.zeros(1, device=self.device), self.captions[0], history, around)

    def schedule(self, steps: int) -> ARSchedule:
        return HELIOS.schedule(self.frames, steps)

    @property
    def warm_up(self) -> ARSchedule:
        return self.schedule(2)

    def prompted(self) -> Model:
        return helios.Guided(self, len(self.model.blocks), *self.captions, cfg=HELIOS.defaults.cfg)


MODELS = {"skyreels": SkyReels, "magi": Magi, "wan": Wan, "helios": Helios, "causal_wan": CausalWan}
SHORT = {"skyreels": SkyReelsTogether, "magi": MagiShort}
"""On which methods are measured."""


@contextmanager
def waiting(cuda: bool) -> Iterator[Callable[[], int | None]]:
    """Count how often the host waits for the device: torch warns of it."""
    if not cuda:
        yield lambda: None
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lambda: sum("called a synchronizing" in str(warning.message) for warning in told)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@torch.inference_mode()
def run(network: Any, schedule: ARSchedule, settings: Settings) -> dict[str, Any]:
    """Sample and measure; the network has counted the operations."""
    cuda = network.device.type == "cuda"
    noise = torch.randn(1, 16, schedule.frames, *network.size, generator=torch.Generator().manual_seed(0)).to(
        network.device
    )
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    with waiting(cuda) as waits:
        _, trace, _ = sample(network.prompted(), noise, schedule, settings)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return {
        "seconds": seconds,
        "computed": trace.totals["computed"],
        "of": trace.totals["iterations"],
        "modes": [step["modes"] for step in trace.segments[0].steps],
        "waits": waits(),
        "peak_bytes": peak,
        "kept_bytes": trace.memory,
    }


def measure(network: Any, schedule: ARSchedule, chosen: dict[str, Settings]) -> Iterator[dict[str, Any]]:
    """Rows of the table: the original, then everything chosen."""
    off = PRESETS["off"]
    looks = [settings for settings in chosen.values() if settings.acting.signal == "sea"][:1]
    for settings in (off, *looks):
        run(network, network.warm_up, settings)  # kernels are loaded and chosen, memory is reserved
    network.take_flops()
    full: dict[str, Any] = {}
    for way, settings in {"original": off, **chosen}.items():
        row = {"way": way, "pack": __version__, **run(network, schedule, settings)}
        row["flops"] = network.take_flops()
        full = full or row
        row["time_x"], row["flop_x"] = full["seconds"] / row["seconds"], full["flops"] / row["flops"]
        row["ratio"] = row["time_x"] / row["flop_x"]
        print(
            f"  {network.title}, {way}: {row['seconds']:.2f} s, {row['time_x']:.2f}x, operations {row['flop_x']:.2f}x,"
            f" ratio {row['ratio']:.3f}",
            flush=True,
        )
        yield row


def markdown(report: dict[str, Any]) -> str:
    lines = [
        f"# Speed-up by the clock and by operations on {report['device']}",
        "",
        (
            f"torch {report['torch']}, {report['dtype']}, random weights. Two of three iterations are skipped in each"
            f" way; *ratio* is time x over FLOP x, at least {GOAL} where the output is reused. MAGI-1's chunks are"
            " decided one by one there, and together where blocks are reused."
        ),
        "",
    ]
    for model in report["models"]:
        lines += table(model, model["title"], "skipped iterations take")
    if report["methods"]:
        lines += [
            (
                "Methods are given thresholds that no change reaches, and the gate has one of three steps computed;"
                " ours plans its steps for a speed of 2.5. Where MAGI-1's chunks are decided together, which they are"
                " where blocks are reused, a new chunk needs a further one. *waits*: how often the host waits for the"
                " device, an iteration."
            ),
            "",
        ]
    for model in report["methods"]:
        lines += table(model, f"{model['title']}, methods", "method")
    return "\n".join(lines)


def table(model: dict[str, Any], title: str, first: str) -> list[str]:
    lines = [
        f"## {title}",
        "",
        f"{model['parameters'] / 1e9:.2f} billion parameters, {model['steps']} steps; {model['measured']}.",
        "",
        f"| {first} | computed | seconds | PFLOP | time x | FLOP x | ratio | peak GB | GB kept | waits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in model["rows"]:
        peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f}"
        waits = "" if row.get("waits") is None else f"{row['waits'] / len(row['modes']):.2f}"
        lines.append(
            f"| {TITLES[row['way']]} | {row['computed']} of {row['of']} | {row['seconds']:.2f} |"
            f" {row['flops'] / 1e15:.3g} | {row['time_x']:.2f} | {row['flop_x']:.2f} | {row['ratio']:.3f} | {peak} |"
            f" {row['kept_bytes'] / 1e9:.3f} | {waits} |"
        )
    return [*lines, ""]


def opened(file: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """The report that an earlier run left, or a new one. Raises ValueError for one of another machine."""
    if not file.exists():
        return {"format": "scope.gpu_check", "pack": __version__, **machine, "models": [], "methods": []}
    report = json.loads(file.read_text())
    for name, value in machine.items():
        if report[name] != value:
            raise ValueError(f"{file} has {name} {report[name]} and this is {value}; give another folder as --out")
    return {"methods": [], **report}


def put(tables: list[dict[str, Any]], table: dict[str, Any], row: dict[str, Any]) -> None:
    """A row into its table, in the place of that of an earlier run."""
    same = [other for other in tables if all(other[name] == table[name] for name in table)]
    if not same:
        same = [{**table, "rows": []}]
        tables += same
    rows = {other["way"]: other for other in same[0]["rows"]} | {row["way"]: row}
    same[0]["rows"] = list(rows.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, help=f"(default: all; with --methods {' and '.join(SHORT)})"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of skipping (default: all)")
    parser.add_argument(
        "--methods",
        nargs="*",
        choices=[name for name in TITLES if name != "original" and name not in WAYS],
        metavar="NAME",
        help="measure methods instead of ways (default: all)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="denoising steps, a multiple of 4 (default: 12, for MAGI-1 16, with --methods for SkyReels 20; released:"
        " 50 and 64)",
    )
    parser.add_argument("--tiny", action="store_true", help="small models in fp32 on the CPU, to test this script")
    parser.add_argument("--out", type=Path, default=Path("scope-output"), metavar="FOLDER")
    args = parser.parse_args()
    if args.steps is not None and (args.steps < 4 or args.steps % 4):
        parser.error("--steps has to be a multiple of 4, because MAGI-1 denoises four chunks at a time")
    networks = MODELS if args.methods is None else SHORT
    models = args.models or list(networks)
    if without := [name for name in models if name not in networks]:
        parser.error(f"--methods measures {' and '.join(SHORT)}, not {', '.join(without)}")
    device, dtype = (torch.device("cpu"), torch.float32) if args.tiny else (args.device, torch.bfloat16)
    machine = {
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "tiny": args.tiny,
        "device": (
            torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
        ),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        report = opened(args.out / "gpu_check.json", machine)
    except ValueError as error:
        parser.error(str(error))

    for name in models:
        torch.manual_seed(0)
        network = networks[name](device, dtype, args.tiny)
        steps = args.steps or network.steps
        schedule = network.schedule(steps)
        if args.methods is None:
            chosen = {way: settings for way, settings in ways(schedule).items() if way in args.ways}
        else:
            found = methods(schedule)
            chosen = {method: found[method] for method in args.methods or found}
        measured = {
            "model": name,
            "title": network.title,
            "measured": "tiny" if args.tiny else network.measured,
            "steps": steps,
            "parameters": sum(p.numel() for p in network.model.parameters()),
        }
        for row in measure(network, schedule, chosen):
            put(report["models" if args.methods is None else "methods"], measured, row)
            (args.out / "gpu_check.json").write_text(json.dumps(report, indent=1))
            (args.out / "gpu_check.md").write_text(markdown(report))
        del network

    print(markdown(report))
    missed = [
        f"{model['title']}, {row['way']}: {row['ratio']:.3f}"
        for model in report["models"]
        for row in model["rows"]
        if row["way"] in OF_OUTPUT and row["ratio"] < GOAL
    ]
    if missed and not args.tiny:
        print(f"Below {GOAL}: {'; '.join(missed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
