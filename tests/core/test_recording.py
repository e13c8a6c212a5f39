"""A recorded run: the inner products that it leaves are those of what the network returned, and it changes nothing."""

# ruff: noqa: F811 - tests take fixtures that are imported

import numpy as np
import pytest
import torch

from scope_core.methods.magcache import Record, measured
from scope_core.settings import PRESETS, Settings
from scope_core.study import recording
from scope_core.study.recording import Recorder, gram, grams
from tests.core.test_magi_loop import Fixture
from tests.core.test_rollout import SCHEDULES, Run, guided, model  # noqa: F401


@pytest.mark.parametrize("name", ["synchronous", "image"])
def test_gram_is_the_direct_products(model, name, monkeypatch):
    """Every own step of every unit, against x0 predictions that the loop tells after each iteration."""
    monkeypatch.setattr(recording, "BLOCK", 7)
    schedule, told, returned = SCHEDULES[name], {}, {}

    class Watched(Recorder):
        def observe(self, state, unit, history, seen):
            returned.setdefault(unit.index, []).append(seen.velocity.clone())
            told.setdefault(unit.index, []).append(seen.latent.clone()) if unit.step == 1 else None
            return super().observe(state, unit, history, seen)

    def watch(control, step, x0):
        for unit in step.active:
            told[unit.index].append(x0[:, :, unit.frames].clone())

    run = Run(guided(model), schedule, Settings(Watched()), watch=watch)
    states = run.controls[0].states
    made = grams(states)
    for found, of in ((made.x0, told), (made.v, returned)):
        for unit, basis in of.items():
            direct = [[float((a.double() * b.double()).sum()) for b in basis] for a in basis]
            assert found[unit] == pytest.approx(np.array(direct), rel=1e-12)
    assert not any(state.x0 or state.v for state in states), "tensors are gone once a unit is done"
    assert made.x0.shape == (len(states), schedule.steps + 1, schedule.steps + 1)
    assert made.v.shape == (len(states), schedule.steps, schedule.steps)


def test_the_length_of_a_sum_follows():
    vectors = [torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    c = np.array([1.0, -2.0, 0.5, 3.0])
    direct = sum(w * v.double() for w, v in zip(c, vectors)).square().sum()
    assert c @ gram(vectors) @ c == pytest.approx(float(direct))


@pytest.mark.parametrize("ratios", [False, True])
def test_recording_is_the_run_without(model, ratios):
    schedule = SCHEDULES["image"]
    recorded, off = (
        Run(guided(model), schedule, settings) for settings in (Settings(Recorder(ratios=ratios)), PRESETS["off"])
    )
    assert torch.equal(recorded.latents, off.latents)


def test_it_notes_the_ratios_as_well(model):
    schedule = SCHEDULES["synchronous"]
    ours, theirs = (
        Run(guided(model), schedule, Settings(method)).controls[0].states
        for method in (Recorder(ratios=True), Record())
    )
    assert measured((state.growths for state in ours), schedule.steps) == measured(theirs, schedule.steps)


def test_chunks_of_magi_are_recorded_each_by_its_own_steps():
    fixture = Fixture("t2v_distill")
    fixture.steps, fixture.window = 8, 2
    expected = fixture.run()
    assert torch.equal(fixture.run(Settings(Recorder())), expected)
    made = grams(fixture.control.states)
    assert made.x0.shape == (3, 9, 9) and made.v.shape == (3, 8, 8)
    assert (np.linalg.eigvalsh(made.v) > -1e-6 * made.v.max()).all()
