"""A new family is one file (toy_family.py): it is then registered, planned, sampled and traced."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scope_core import FAMILIES, PRESETS, SKYREELS, Gate, ScheduleError, Settings, plan, sample
from scope_core.methods import TeaCache
from scope_core.settings import CALIBRATED
from scope_core.signals import change_table
from tests.core import toy_family
from tests.core.toy_family import CHANNELS, CHUNK, TOYS, ToyModel

FRAMES, STEPS, LAG = 9, 12, 3
METHODS = {
    "off": PRESETS["off"],
    "scope sigma": replace(CALIBRATED, method=replace(CALIBRATED.method, signal="sigma")),
    "scope phase": replace(CALIBRATED, method=replace(CALIBRATED.method, signal="phase")),
    "scope joint": replace(CALIBRATED, method=replace(CALIBRATED.method, signal="sigma"), joint=True),
    "planned": PRESETS["balanced"],
    "teacache": Settings(TeaCache(0.6, signal="phase"), Gate(3, 1, 1)),
}
every_family = pytest.mark.parametrize("family", TOYS, ids=lambda family: family.name)
every_method = pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)


@pytest.fixture(autouse=True)
def registered():
    toy_family.register()
    yield
    for family in TOYS:
        del FAMILIES[family.name]


def noise(frames=FRAMES):
    return torch.randn(1, CHANNELS, frames, 2, 2, generator=torch.Generator().manual_seed(1))


def told(trace):
    return [(segment.header, [{**step, "seconds": 0} for step in segment.steps]) for segment in trace.segments]


@every_family
def test_its_arithmetic_is_its_own(family):
    """Lengths, noise levels and messages."""
    assert FAMILIES[family.name] is family
    assert [family.latent_frames(pixels) for pixels in (1, 2, 5, 6)] == [1, 1, 3, 3] and family.pixel_frames(3) == 6
    schedule = family.schedule(8, 5)
    assert schedule.frames == 9
    assert schedule.sigmas.tolist() == pytest.approx([1, 0.9798, 0.9165, 0.8, 0.6, 0], abs=1e-4)
    assert schedule.segments[0].units == (slice(0, 3), slice(3, 6), slice(6, 9))
    where, exact = family.place(family.schedule(9, 12))
    assert exact and where.tolist() == [*range(0, 240, 20)]
    with pytest.raises(ScheduleError, match=r"between 1 and 2 \(4 frames\)"):
        family.schedule(9, window=3)
    with pytest.raises(ScheduleError, match="'official'.*'circle'"):
        _ = replace(schedule, table="official").sigmas


@every_family
def test_off_is_euler_chunk_after_chunk(family):
    """Bit for bit a loop that knows nothing of the library."""
    model, x = ToyModel(family), noise()
    levels = np.sqrt(1 - np.linspace(0, 1, STEPS + 1) ** 2)
    for iteration in range(STEPS + 2 * LAG):
        for chunk in range(3):
            step = iteration - chunk * LAG
            if 0 <= step < STEPS:
                frames = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
                v = model(x[:, :, frames], np.full(CHUNK, levels[step]))
                x[:, :, frames] += (levels[step + 1] - levels[step]) * v
    made, _, _ = sample(ToyModel(family), noise(), family.schedule(FRAMES, STEPS, LAG), PRESETS["off"])
    assert torch.equal(made, x) and not torch.equal(made, noise())


@every_family
@every_method
@pytest.mark.parametrize("frames, window", [(FRAMES, FRAMES), (12, 6)], ids=["one window", "three windows"])
def test_the_plan_is_the_run(family, settings, frames, window):
    schedule, model = family.schedule(frames, STEPS, LAG, window), ToyModel(family)
    signal = settings.acting.signal
    planned = plan(schedule, settings, None if signal == "sigma" else change_table(signal, schedule.sigmas, model))
    made, trace, controls = sample(model, noise(frames), schedule, settings)
    assert len(trace.segments) == len(schedule.segments) == len(controls) == (1 if window == frames else 3)
    assert told(planned) == told(trace)
    assert torch.isfinite(made).all()
    full, _, _ = sample(ToyModel(family), noise(frames), schedule, PRESETS["off"])
    assert torch.equal(made, full) == settings.off
    modes = {mode for segment in trace.segments for step in segment.steps for mode in step["modes"]}
    assert bool(modes & {"P", "C"}) == (not settings.off) and model.forwards == trace.forwards


@every_method
def test_evaluations_are_counted_as_the_network_is_called(settings):
    """Three chunks of twelve steps: 18 iterations of the window, or 36 steps of chunks."""
    traces = [sample(ToyModel(family), noise(), family.schedule(FRAMES, STEPS, LAG), settings).trace for family in TOYS]
    together, apart = (trace.totals for trace in traces)
    assert (together["iterations"], together["frames_baseline"]) == (18, 18 * 9)
    assert (apart["iterations"], apart["frames_baseline"]) == (36, 36 * 3)
    steps = [[step["modes"] for step in trace.segments[0].steps] for trace in traces]
    assert all(set(modes) <= {"R", "."} for modes in steps[0] if "R" in modes), "a window is computed as a whole"
    assert together["computed"] == sum("R" in modes for modes in steps[0])
    assert together["frames_computed"] == 9 * together["computed"]
    assert apart["computed"] == sum(modes.count("R") for modes in steps[1])
    assert apart["frames_computed"] == 3 * apart["computed"]
    for totals in (together, apart):
        assert totals["forwards"] == pytest.approx(totals["computed"])
        assert (totals["computed"] < totals["iterations"]) == (not settings.off)
    alone = any({"R"} < set(modes) - {"."} for modes in steps[1])
    assert alone == (settings in (METHODS["scope sigma"], METHODS["scope phase"])), "chunks decide for themselves"


@every_family
def test_its_trace_tells_the_schedule(family):
    _, trace, _ = sample(ToyModel(family), noise(12), family.schedule(12, STEPS, LAG, 6), METHODS["scope sigma"])
    data = json.loads(json.dumps(trace.to_json()))
    assert data == trace.to_json() and data["run"]["method"] == "scope"
    assert data["run"]["schedule"] == {
        "frames": 12,
        "steps": 12,
        "window": 6,
        "overlap": 3,
        "block": 3,
        "ar_step": 3,
        "prefix": 0,
        "tail": 0,
        "condition_noise": 0,
        "shift": 1,
        "causal": False,
    }
    assert [segment["units"] for segment in data["segments"]] == [[[0, 3], [3, 6]], [[3, 6]], [[3, 6]]]
    assert all(segment["by_chunk"] == family.by_chunk for segment in data["segments"])


@pytest.mark.parametrize("signal", ["modulation", "sea", "tempo"])
@every_family
def test_a_signal_it_does_not_have_is_answered_with_those_it_has(family, signal):
    settings = replace(CALIBRATED, method=replace(CALIBRATED.method, signal=signal))
    schedule = family.schedule(FRAMES, STEPS, LAG)
    with pytest.raises(ValueError, match=f"'{signal}'.*phase, sigma"):
        sample(ToyModel(family), noise(), schedule, settings)
    with pytest.raises(ValueError, match=f"'{signal}'.*phase, sigma"):
        plan(schedule, settings, np.full(STEPS + 1, 0.1))


def test_a_schedule_of_another_family_is_answered():
    together, apart = TOYS
    for schedule, title in ((SKYREELS.schedule(9), "SkyReels-V2"), (apart.schedule(9), "Toy by chunk")):
        with pytest.raises(ValueError, match=f"schedule is one of {title} and the model one of Toy;"):
            sample(ToyModel(together), noise(), schedule, PRESETS["off"])
