"""Find the plans of the demo models: `python -m scope_core.demo.plan --way chunk_by_chunk --computed 8 5 4 3 2`.

Of every number of computed iterations in a period the rule's list, lists `--given` by hand, and what a closed-loop
search on some clips makes of them are checked on clips that none was found on; the best one there is kept in `plans/`,
with the PSNR that it had. Clips that a benchmark judges are among neither.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from .. import disk
from ..methods import Planned
from ..methods.knobs import whole_numbers
from ..methods.planned import cost, lists, period_of
from ..settings import PRESETS, Settings
from ..signals.maps import fingerprint
from ..study.metrics import mean_psnr
from ..study.plans import Choice, Plan, improve, read
from .shipped import DEMOS, PLANS, Demo, signals_of
from .training.world import Clips

PROMPTS = 333_000
"""Seed of the prompts, and of the noise; those checked on come behind those searched on."""


class Trial:
    """Some clips of a schedule with their full runs."""

    def __init__(self, demo: Demo, way: str, first: int, count: int):
        self.demo, self.schedule, self.noise = demo, demo.schedules()[way], PROMPTS + first
        clips = Clips.sample(first + count, torch.Generator().manual_seed(PROMPTS))
        self.tokens = clips.tokens()[first:]
        self.full = self.video(PRESETS["off"])

    def video(self, settings: Settings) -> Tensor:
        return self.demo.decode(self.demo.sample(self.tokens, self.schedule, settings, self.noise).latents)

    def psnr(self, computed: tuple[int, ...], period: int) -> float:
        """Mean over the clips, in dB to the full runs."""
        settings = Settings(Planned(computed=computed, period=period))
        return mean_psnr(self.video(settings), self.full).mean().item()


def main() -> None:
    ways = {way: demo for demo in DEMOS.values() for way in demo.ways}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", choices=list(ways), required=True)
    parser.add_argument("--computed", type=int, nargs="+", required=True, help="iterations of a period to compute")
    parser.add_argument("--tries", type=int, default=30, help="moves of the search, 0: none (default: %(default)s)")
    parser.add_argument("--given", nargs="*", default=[], help="lists to check as well, each as '1, 2, 6, 10, 14'")
    parser.add_argument(
        "--clips", type=int, default=4, help="to search on, and as many to check (default: %(default)s)"
    )
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    demo = ways[given.way]()
    schedule, family, apart = demo.schedules()[given.way], demo.family, demo.family.by_chunk
    segment = schedule.segments[0]
    period = period_of(segment)
    rule = {len(each[0]): each for each in reversed([*lists(segment, apart, apart)])}
    if missing := sorted(set(given.computed) - set(rule)):
        parser.error(f"--computed has {', '.join(map(str, missing))}; choose among {', '.join(map(str, sorted(rule)))}")
    file = given.file or PLANS / f"{demo.report}_{given.way}.json"
    before = read(file) if file.exists() else None
    if before and before.clips != given.clips:
        parser.error(
            f"--clips is {given.clips}, and the choices in {file} were checked on {before.clips}; use as many, or give"
            " another --file"
        )
    given_lists = [whole_numbers("given", text) for text in given.given]
    found, check = (Trial(demo, given.way, first, given.clips) for first in (0, given.clips))
    choices: dict[int, Choice] = {}
    for count in given.computed:
        start, ends = rule[count]
        best = start
        if given.tries:
            best = improve(lambda computed: found.psnr(computed, period), start, period, given.tries)
        equal = (
            one
            for one in (best, *given_lists)
            if cost(one, period, segment, ends) == cost(start, period, segment, ends)
        )
        for computed in dict.fromkeys((start, *equal)):
            choice = Choice(computed, round(check.psnr(computed, period), 2))
            print(f"{count} of {period}: {choice.psnr:.2f} dB  {', '.join(map(str, computed))}", flush=True)
            choices[count] = max(choices.get(count, choice), choice, key=lambda choice: choice.psnr)
    if before:
        choices = {len(choice.computed): choice for choice in before.choices} | choices
    plan = Plan(
        f"Demo model, {family.title}, {given.way.replace('_', ' ')}",
        family.name,
        fingerprint(signals_of(schedule), family),
        tuple(schedule.sigmas[:-1].tolist()),
        schedule.ar_step,
        period,
        given.clips,
        tuple(choices[count] for count in sorted(choices)),
    )
    file.parent.mkdir(exist_ok=True)
    disk.write(file, (json.dumps(plan.to_json(), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
