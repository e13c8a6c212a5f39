"""The methods of SCOPE Settings: their knobs, and the operating points published for them."""

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..scope_core.policy import POLICIES
from ..scope_core.policy.magcache import WAN_1_3B
from ..scope_core.policy.teacache import POLYNOMIALS
from ..scope_core.presets import Settings

CUSTOM = "custom"
GATE = ("max_skip", "warm_up", "tail")
RATIOS = {"calibrated": (), "Wan 1.3B": WAN_1_3B}


def grid(text: str) -> tuple[int, ...]:
    """Steps as people write them. Raises ValueError."""
    parts = text.replace(",", " ").split()
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"steps are {text[:60]!r}; write whole numbers from 1 on, for example 1, 3, 6, 10, or nothing")
    return tuple(map(int, parts))


READ = {"ratios": RATIOS.__getitem__, "steps": grid}
"""How widgets become fields of a policy, where they are not the same."""


def number(name: str, default: float, tooltip: str, low: float = 0.0, high: float = 100.0) -> io.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=0.01, round=0.0001, tooltip=tooltip)


def count(name: str, default: int, tooltip: str, low: int = 0, high: int = 1000) -> io.Input:
    return io.Int.Input(name, default=default, min=low, max=high, tooltip=tooltip)


def choice(name: str, options: list[str], tooltip: str, default: str | None = None) -> io.Input:
    return io.Combo.Input(name, options=options, default=default or options[0], tooltip=tooltip)


def gate(max_skip: int, warm_up: int, tail: int) -> list[io.Input]:
    """The safety rules, the same for every method."""
    return [count("max_skip", max_skip, "Longest run of steps without computing; where the method has a limit of its own the smaller one wins.", high=50),
            count("warm_up", warm_up, "First steps of every chunk that are always computed.", high=50),
            count("tail", tail, "Last steps of every chunk that are always computed.", high=50)]


def polynomial(default: str = "none") -> io.Input:
    return choice("polynomial", ["none", *sorted({model for model, _ in POLYNOMIALS})],
                  "Published rescaling of the change, fitted to that model with all frames at one noise level.", default)


@dataclass(frozen=True)
class Offer:
    """A method as users see it. Knobs are named as the fields of its policy."""

    knobs: list[io.Input]
    points: dict[str, dict[str, Any]]
    """Published operating points: what differs from the knobs' defaults."""

    def presets(self) -> dict[str, dict[str, Any]]:
        usual = {knob.id: knob.default for knob in self.knobs}
        return {name: usual | point for name, point in self.points.items()}

    def preset_input(self, **more) -> io.Input:
        return io.Combo.Input("preset", options=[CUSTOM, *self.points], default=CUSTOM, **more, extra_dict={"presets": self.presets()},
                              tooltip="A published operating point, or custom: the knobs below decide. They were published for other models and schedules.")


OFFERS: dict[str, Offer] = {
    "teacache": Offer([
        number("threshold", 0.2, "Accumulated change of the timestep embedding below which the transformer's residual is reused. 0 never skips.", high=10.0),
        polynomial(),
        choice("signal", ["modulation", "embedding", "latent"], "What the change is measured on. Published: an embedding of the timestep; for MAGI-1 the latent."),
        *gate(5, 5, 1)], {
        "Wan 1.3B, 0.05": {"threshold": 0.05, "polynomial": "1.3B", "signal": "embedding", "max_skip": 12, "warm_up": 1},
        "Wan 1.3B, 0.08": {"threshold": 0.08, "polynomial": "1.3B", "signal": "embedding", "max_skip": 12, "warm_up": 1},
        "Wan 14B, 0.20": {"threshold": 0.2, "polynomial": "14B", "signal": "embedding", "max_skip": 12, "warm_up": 1},
        "SkyReels 1.3B, 0.3": {"threshold": 0.3, "polynomial": "1.3B", "signal": "modulation", "max_skip": 12, "tail": 0},
        "MAGI-1, 0.01": {"threshold": 0.01, "signal": "latent", "max_skip": 12, "tail": 0}}),
    "taylorseer": Offer([
        count("interval", 5, "One step in so many is computed; 1 never skips.", low=1, high=50),
        count("order", 1, "Order of the forecast: 1 along a line, 2 along a parabola.", low=1, high=2),
        count("first", 1, "Steps computed at the start of every chunk.", low=1, high=100),
        choice("site", ["output", "residual"], "What is forecast: the velocity (Lite), or the change across all blocks, which is the sum of what the modules add."),
        *gate(12, 0, 0)], {
        "Wan, every 5": {"site": "residual"}, "Wan, every 5, Lite": {}, "diffusers, every 5 after 3": {"first": 3, "site": "residual"},
        "ComfyUI, every 6, order 2": {"interval": 6, "order": 2, "first": 3, "site": "residual", "tail": 1}}),
    "flowcache": Offer([
        number("threshold", 0.1, "Accumulated change of a chunk below which its velocity is reused. 0 never skips."),
        polynomial("1.3B"),
        choice("signal", ["modulation", "embedding", "latent"], "What the change is measured on. Published: modulation for SkyReels, latent for MAGI-1."),
        *gate(12, 4, 1)], {
        "SkyReels slow": {}, "SkyReels fast": {"threshold": 0.15},
        "MAGI-1 slow": {"threshold": 0.01, "polynomial": "none", "signal": "latent", "warm_up": 5},
        "MAGI-1 fast": {"threshold": 0.015, "polynomial": "none", "signal": "latent", "warm_up": 5}}),
    "magcache": Offer([
        number("threshold", 0.12, "Accumulated drift of the residual's size below which it is reused. 0 never skips."),
        count("longest", 4, "Most steps skipped in a row.", high=50),
        number("retention", 0.2, "Share of a chunk's first steps that are always computed.", high=1.0),
        choice("ratios", list(RATIOS), "How the residual grows from step to step. calibrated: as SCOPE Calibrate measured it for this model, steps, shift, guidance and "
                                       "schedule. Wan 1.3B: as published, a first guess for SkyReels."),
        *gate(12, 0, 0)], {
        "Wan 1.3B, slow": {"longest": 2, "ratios": "Wan 1.3B"}, "Wan 1.3B, fast": {"ratios": "Wan 1.3B"},
        "Wan 14B": {"threshold": 0.24, "longest": 6}}),
    "delta_dit": Offer([
        count("every", 2, "One step in so many is computed whole; 1 computes all.", low=1, high=50),
        number("share", 0.5, "Share of the blocks that are skipped in between.", low=0.05, high=1.0),
        number("turn", 0.5, "Share of a chunk's steps after which the front blocks are skipped instead of the rear ones.", high=1.0),
        *gate(12, 0, 0)], {}),
    "bwcache": Offer([
        number("threshold", 0.15, "Change of the blocks' outputs below which reuse begins. 0 never skips."),
        number("pace", 0.1, "Length of a run of reused steps, as a share of the steps.", low=0.01, high=1.0),
        number("tail_ratio", 0.5, "Share of the steps left at the trigger that are computed at the end.", high=1.0),
        *gate(12, 0, 0)], {"careful": {}, "middle": {"threshold": 0.2}, "fast": {"threshold": 0.25}}),
    "fbcache": Offer([
        number("threshold", 0.05, "Change of the first blocks' residual below which the others are reused. 0 never skips."),
        count("front", 1, "Blocks that always run first and decide.", low=1, high=100),
        count("back", 0, "Blocks that always run last.", high=100),
        *gate(12, 0, 0)], {"FBCache": {}, "DBCache F8B0": {"threshold": 0.08, "front": 8, "warm_up": 8}}),
    "easycache": Offer([
        number("tau", 0.05, "Accumulated change of the output, guessed from that of the latents, below which it is reused. 0 never skips."),
        choice("form", ["paper", "velocity"], "What is reused: the output's distance to its input as published, or the velocity."),
        *gate(12, 10, 0)], {"paper": {}, "ComfyUI's node at 50 steps": {"tau": 0.2, "warm_up": 8, "tail": 3}}),
    "predit": Offer([
        number("tau", 1.0, "Tolerance: how far ahead the velocity is forecast before the next computed step. 0 never skips."),
        count("order", 2, "Order of the Adams-Bashforth forecast.", low=1, high=2),
        count("longest", 8, "Most steps forecast in a row.", low=1, high=50),
        *gate(12, 0, 0)], {}),
    "motioncache": Offer([
        number("threshold", 0.0065, "Accumulated change of a chunk's latents, weighted by motion, below which its velocity is reused. 0 never skips."),
        *gate(12, 5, 1)], {"MAGI-1": {}}),
    "seacache": Offer([
        number("threshold", 0.25, "Accumulated change of the denoised spectrum below which the residual is extrapolated. 0 never skips."),
        count("max_skips", 2, "Most steps skipped in a row.", low=1, high=50),
        choice("site", ["residual", "output"], "What is extrapolated: the change across all blocks as published, or the velocity."),
        *gate(12, 1, 1)], {"published": {}}),
    "reduced": Offer([
        count("computed", 25, "Steps of every chunk that are computed, evenly spread; in between the last velocity is held.", low=1),
        io.String.Input("steps", default="", tooltip="Steps to compute instead, for example 1, 3, 6, 10: a grid of your own, or that of another method. Empty: evenly spread."),
        *gate(50, 0, 0)], {}),
}
"""By the policy's name. The baselines and neighbours of SCOPE; facts: methods.md section 2."""


def options() -> list[io.DynamicCombo.Option]:
    """For the method selector. TeaCache's preset comes last, because saved graphs know it without one."""
    return [io.DynamicCombo.Option(name, [*offer.knobs, offer.preset_input(optional=True)] if name == "teacache" else [offer.preset_input(), *offer.knobs])
            for name, offer in OFFERS.items()]


def settings_of(method: str, knobs: dict[str, Any]) -> Settings:
    """Settings of a method's widgets: unless the preset is custom, its numbers win. Raises ValueError out of range."""
    preset = knobs.pop("preset", None) or CUSTOM
    if preset != CUSTOM:
        knobs = OFFERS[method].presets()[preset]
    numbers = {name: READ.get(name, lambda value: value)(value) for name, value in knobs.items() if name not in GATE}
    settings = Settings(POLICIES[method](**numbers), **{name: knobs[name] for name in GATE})
    _ = settings.policy, settings.gate
    return settings
