"""Plans: which iterations to compute for a wanted speed or fidelity, found for a model, checked on clips that they were
not found on, and kept as a small JSON file that people can share.

A plan is carried over to other numbers of steps, shifts and lags: where all frames go together a step is that of the
nearest noise level, where chunks follow each other an iteration keeps its place between two entries. The share of
iterations that are computed stays, or shrinks.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..methods import Planned
from ..methods.planned import LONG_ENOUGH, cost
from ..schedule import ARSchedule
from ..settings import Settings

FORMAT, VERSION = "scope.plan", 1
COARSE = 0.95
"""Share of the wanted evaluations below which a plan's choice is too coarse, and the rule comes nearer."""
NEARBY = 0.5
"""How often a search considers either neighbour of an iteration."""


class PlanError(ValueError):
    """A file that is no plan, or a wish that no plan answers. The message says the way out."""


@dataclass(frozen=True)
class Choice:
    """What is computed at one speed."""

    computed: tuple[int, ...]
    """Iterations of a period, from 1; the last one of a run is computed in any case."""
    psnr: float
    """Mean over the clips it was checked on, in dB to the full run."""


@dataclass(frozen=True)
class Plan:
    """Raises PlanError for values that do not fit together."""

    title: str
    """For people: which model, found how."""
    family: str
    model: str
    """Fingerprint of the model that it holds for; empty: any of the family."""
    levels: tuple[float, ...]
    """Noise levels before each own step."""
    lag: int
    """Own steps by which a chunk follows the one before it; 0: all frames together."""
    period: int
    """Iterations after which the choices begin again."""
    clips: int
    """That the choices were checked on."""
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        steps = len(self.levels)
        fits = self.period == steps if not self.lag else self.period % self.lag == 0 and self.period > 0
        falls = all(a > b for a, b in pairwise((*self.levels, 0.0)))
        inside = all(
            choice.computed
            and choice.computed[0] >= 1
            and choice.computed[-1] <= self.period
            and all(a < b for a, b in pairwise(choice.computed))
            and choice.psnr > 0
            for choice in self.choices
        )
        if steps < 2 or not falls or not fits or not inside or not self.choices:
            raise PlanError(
                f"the plan {self.title!r} has {steps} levels, a lag of {self.lag}, a period of {self.period} and"
                f" {len(self.choices)} choices; the levels have to fall and stay above 0, the period has to be their"
                " number, or with a lag a multiple of that, and every choice has to rise within the period and have a"
                " PSNR above 0"
            )

    @classmethod
    def from_json(cls, data: Any) -> "Plan":
        """Raises PlanError for anything else than `to_json` gives."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise PlanError(f"this is no plan of steps; choose a file whose format is {FORMAT!r}")
        if data.get("version") != VERSION:
            raise PlanError(
                f"this plan is of version {data.get('version')!r}, and {VERSION} is what can be read; find it again"
                " with this version of SCOPE, or use the version that it was made with"
            )
        try:
            values = (
                str(data["title"]),
                str(data["family"]),
                str(data["model"]),
                tuple(map(float, data["levels"])),
                int(data["lag"]),
                int(data["period"]),
                int(data["clips"]),
                tuple(Choice(tuple(map(int, choice["computed"])), float(choice["psnr"])) for choice in data["choices"]),
            )
        except KeyError as error:
            raise PlanError(f"this plan has no {error}; get the file again") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise PlanError(
                f"this plan has a value of another kind than it needs ({error}); get the file again"
            ) from error
        return cls(*values)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def fits(self, schedule: ARSchedule, model: str | None) -> bool:
        ours = model is None or self.model in ("", model)
        return ours and self.family == schedule.family.name and bool(self.lag) == schedule.asynchronous

    def choose(self, schedule: ARSchedule, wanted: Planned, apart: bool = False) -> Planned:
        """The slowest choice that is at least as fast as wanted once it is carried over to a schedule, or with a wanted
        fidelity the fastest one that has it; where there is none as wanted, what was given. Raises PlanError where none
        is as faithful."""
        if wanted.fidelity:
            faithful = [choice for choice in self.choices if choice.psnr >= wanted.fidelity]
            if not faithful:
                best = max(choice.psnr for choice in self.choices)
                raise PlanError(
                    f"no choice of the plan {self.title!r} has {wanted.fidelity:g} dB; its most faithful one has"
                    f" {best:.1f}; ask for less, or for a speed"
                )
            choice = min(faithful, key=lambda choice: len(choice.computed))
            computed, period = self.carried(choice.computed, schedule)
            return replace(wanted, computed=computed, period=period, expected=choice.psnr)
        made = [
            replace(wanted, computed=computed, period=period, expected=choice.psnr)
            for choice in self.choices
            for computed, period in [self.carried(choice.computed, schedule)]
        ]
        costs = [cost(each.computed, each.period, schedule.segments[0], apart) for each in made]
        near = [each for each, of in zip(made, costs) if COARSE <= of * each.at_least <= 1]
        return max(near, key=lambda each: len(each.computed) / each.period, default=wanted)

    def carried(self, computed: tuple[int, ...], schedule: ARSchedule) -> tuple[tuple[int, ...], int]:
        """Iterations of a period at a schedule, and that period."""
        if self.lag:
            return self.between_entries(computed, schedule.ar_step)
        levels = schedule.sigmas[:-1]
        if len(levels) == len(self.levels) and np.allclose(levels, self.levels):
            return computed, self.period
        count = max(2, len(computed) * len(levels) // len(self.levels))
        own = np.interp(np.linspace(0, len(computed) - 1, count), range(len(computed)), computed)
        at = np.interp(own, range(1, len(self.levels) + 1), self.levels)
        nearest = abs(levels[:, None] - at[1:-1]).argmin(0) + 1
        return tuple(sorted({1, *nearest.tolist(), len(levels)})), len(levels)

    def between_entries(self, computed: tuple[int, ...], lag: int) -> tuple[tuple[int, ...], int]:
        """The same where a chunk follows the one before it by another lag. The plan's period is repeated until it is
        long enough to keep the share."""
        if lag == self.lag:
            return computed, self.period
        scaled = self.period // self.lag * lag
        turns = ceil(LONG_ENOUGH / scaled)
        count, cycle = len(computed) * turns * lag // self.lag, [*computed, computed[0] + self.period]
        chosen = set()
        for turn in range(turns):
            share = ceil(count * (turn + 1) / turns) - ceil(count * turn / turns)
            own = np.interp(np.linspace(0, len(computed), share, endpoint=False), range(len(cycle)), cycle)
            chosen |= {scaled * turn + round((i - 1) * lag / self.lag) % scaled + 1 for i in own}
        return tuple(sorted(chosen)), scaled * turns


def read(path: Path) -> Plan:
    """Raises PlanError with the name of a file that is no plan, and OSError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path.name} is no JSON, so no plan of steps; choose another file") from error
    try:
        return Plan.from_json(data)
    except PlanError as error:
        raise PlanError(f"{path.name}: {error}") from error


def wanted(settings: Settings) -> bool:
    """Whether the steps of these settings are still to be planned."""
    method = settings.method
    return isinstance(method, Planned) and not method.computed and not method.off


def fitting(schedule: ARSchedule, plans: Iterable[Plan], model: str | None = None) -> Plan | None:
    """The first plan that fits; one of this very `model` goes first (a fingerprint; None: the plans are known to be
    this model's)."""
    return min((plan for plan in plans if plan.fits(schedule, model)), key=lambda plan: not plan.model, default=None)


def planned(settings: Settings, schedule: ARSchedule, plans: Iterable[Plan], model: str | None = None) -> Settings:
    """Settings with what the plan that fits (`fitting`) has for them. Raises PlanError for a wanted fidelity where none
    fits, or it has none as faithful."""
    method = settings.method
    if not isinstance(method, Planned) or not wanted(settings):
        return settings
    plan = fitting(schedule, plans, model)
    if plan is None:
        if method.fidelity:
            raise PlanError(
                "a fidelity can only be asked for where a plan says what is faithful, and there is none for this model"
                " and schedule; choose a speed instead, or import a plan"
            )
        return settings
    return replace(settings, method=plan.choose(schedule, method, settings.apart(schedule)))


def improve(
    evaluate: Callable[[tuple[int, ...]], float], computed: tuple[int, ...], period: int, tries: int, seed: int = 0
) -> tuple[int, ...]:
    """Iterations of a period, as many as were given, that score better: hill climbing by moving one of them at a time,
    mostly to a neighbour. `evaluate`: a score of such a list, high where it is good; the first iteration stays where it
    is among them."""
    rng, seen = np.random.default_rng(seed), {computed: evaluate(computed)}
    for _ in range(tries):
        fixed = computed[:1] if computed[0] == 1 else ()
        free = [i for i in computed if i not in fixed]
        if not free:
            break
        moved = rng.choice(free)
        near = [i for i in (moved - 1, moved + 1) if rng.random() < NEARBY]
        to = [i for i in near or range(1, period + 1) if 1 <= i <= period and i not in computed]
        if not to:
            continue
        other = tuple(sorted({*computed, int(rng.choice(to))} - {int(moved)}))
        if other not in seen:
            seen[other] = evaluate(other)
        if seen[other] > seen[computed]:
            computed = other
    return computed
