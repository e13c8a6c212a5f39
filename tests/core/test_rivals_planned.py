"""Rivals whose steps are chosen before a run: released tables, how they are carried over, forecasts by hand. What holds
for all methods alike is in test_rivals_output.py."""

# ruff: noqa: F811 - tests take fixtures that are imported

import re
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from scope_core import MAGI, SKYREELS, plan
from scope_core.demo import budcache
from scope_core.demo.shipped import SkyReelsDemo
from scope_core.methods import BudCache, DPCache, Entry, Gate, LeMiCa, MeanCache, Reduced
from scope_core.methods.dpcache import costs, path
from scope_core.methods.lemica import TABLES
from scope_core.methods.listed import Listed, Table
from scope_core.methods.meancache import SPANS, paper, released
from scope_core.methods.meancache import TABLES as MEAN_TABLES
from scope_core.settings import PRESETS, Settings
from scope_core.study.budcache import Found, search
from scope_core.study.recording import Recorder, grams
from tests.core.test_rivals_output import UNGATED, modes, unit
from tests.core.test_rollout import SCHEDULES, Run, guided, model  # noqa: F401

SCHEDULE = SKYREELS.schedule(16, 50, 16)
(SEGMENT,) = SCHEDULE.segments
EVEN = np.linspace(1, 0, 51)


def steps(method, schedule=SCHEDULE):
    """Own steps that it computes, counted from 0 as published lists are."""
    return [step - 1 for step in method.fit(schedule, schedule.segments[0]).steps]


def test_planned_steps_are_computed_and_the_rest_put_back():
    assert modes(Listed((1, 3, 4, 8)), 8) == "RCRRCCCR"
    assert modes(Listed((1, 3, 4, 8), kept=2), 8) == "RPRRPPPR"
    assert modes(Listed((1, 5)), 6, forced=(3,)) == "RCRCRC"
    assert modes(Listed((3,), site="residual"), 4) == "RCRC", "the first step has nothing to put back"


@pytest.mark.parametrize("model, table", [*TABLES.items(), *MEAN_TABLES.items()])
def test_released_tables_are_whole(model, table):
    for found in table.lists:
        assert list(found) == sorted(set(found)) and (found[0], found[-1]) == (0, table.steps - 1)
        assert max(np.diff(found)) <= 8 and table.of(len(found)) == found
    assert [len(found) for found in table.lists] == sorted({len(found) for found in table.lists}, reverse=True)


def test_every_released_gap_has_its_span():
    known = {(model, len(found)): found for model, table in MEAN_TABLES.items() for found in table.lists}
    assert known.keys() == SPANS.keys()
    for key, spans in SPANS.items():
        assert len(spans) == sum(np.diff(known[key]) > 1)


def test_a_table_on_its_own_levels_is_itself():
    table = TABLES["Wan 1.3B"]
    u = 1 - np.arange(51) / 50
    for found in table.lists:
        for carry in ("noise level", "index"):
            assert table.carried(found, 5 * u / (1 + 4 * u), carry) == tuple(step + 1 for step in found)


def test_tables_are_carried_over_by_noise_level():
    """Wan's 17 steps were at shift 5; at shift 8 the same levels come later. By hand for the 13th step of 50, at u =
    0.74: sigma = 3.7 / 3.96 = 0.9343, and at shift 8 u = sigma / (8 - 7 sigma) = 0.6402, step 17.99 of 50."""
    assert steps(LeMiCa(17)) == [0, 2, 3, 5, 6, 7, 9, 10, 12, 14, 18, 24, 31, 37, 42, 47, 49]
    assert steps(LeMiCa(17, carry="index")) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 25, 32, 39, 46, 49]
    by_level, by_index = (steps(LeMiCa(20, carry=carry), MAGI.schedule(24, 64)) for carry in ("noise level", "index"))
    assert by_level[:2] == [0, 7] and by_index[:4] == [0, 1, 3, 4] and by_level[-1] == by_index[-1] == 63


def test_numbers_that_no_table_has_are_thinned_from_a_longer_one():
    table = Table(9, 1.0, ((0, 1, 2, 3, 5, 8), (0, 2, 5, 8)))
    assert table.of(6) == (0, 1, 2, 3, 5, 8) and table.of(9) == table.of(99) == tuple(range(9))
    assert table.of(5) == (0, 1, 2, 5, 8), "items 0, 1.25, 2.5 (even), 3.75, 5 of the longer list"
    assert table.of(3) == (0, 5, 8) and table.of(2) == (0, 8) and table.of(8) == (0, 1, 2, 3, 5, 6, 7, 8)


@pytest.mark.parametrize("method", [LeMiCa, MeanCache])
def test_more_computed_steps_cost_more(method):
    made = [plan(SCHEDULE, Settings(method(count), UNGATED)).totals["computed"] for count in (2, 5, 11, 18, 25, 40)]
    assert made == sorted(made) and made[0] == 2 and made[-1] > 30


@pytest.mark.parametrize("span, first, sum_of_gap", [(1, 0, 0), (2, 1 / 4, 1 / 3), (3, 1 / 3, 5 / 6), (5, 2 / 5, 2)])
def test_the_released_recursion_turns_too_little(span, first, sum_of_gap):
    """On velocities that grow by 1 a step: (K - 1) / 2 K at the first skipped step, and over a long gap what the
    recursion adds up to, where it should be 1, 2, 3, ..."""
    computed = (10, 9, 8, 7, 6, 5)
    assert np.dot(released(11, computed, EVEN, lambda step: span), computed) - 10 == pytest.approx(first)
    assert np.dot(released(49, computed, EVEN, lambda step: span), computed) - 10 == pytest.approx(sum_of_gap, abs=2e-3)


def test_the_released_recursion_is_that_of_latents_and_velocities():
    """Against the formula on numbers, with x moved by Euler and predictions in its log; steps 4, 6 and 8 are computed
    after the first three."""
    sigmas = SCHEDULE.sigmas
    v_of = lambda step: np.sin(step) + 0.1 * step  # noqa: E731
    computed, x, xs, vs = (1, 2, 3, 4, 6, 8), 0.0, [], []
    for step in range(1, 11):
        if step in computed:
            v = v_of(step)
        else:
            s, e = len(vs) - 2, len(vs)
            u = (x - xs[s]) / (sigmas[e] - sigmas[s])
            jvp = (vs[s] - u) / (sigmas[e] - sigmas[s])
            v = vs[-1] - jvp * (sigmas[e] - sigmas[e - 1])
        xs, vs, x = [*xs, x], [*vs, v], x + (sigmas[step] - sigmas[step - 1]) * v
    for step in (5, 7, 9, 10):
        known = tuple(c for c in computed[::-1] if c < step)
        found = np.dot(released(step, known, sigmas, lambda step: 2), [v_of(c) for c in known])
        assert found == pytest.approx(vs[step - 1])


def test_the_paper_s_form_is_a_line_over_the_span():
    def line(step, computed, k):
        weights = paper(step, computed, EVEN, lambda step: k)
        return np.dot(weights, computed[: len(weights)])

    assert paper(14, (10, 9, 8), EVEN, lambda step: 1) == (1.0,) and paper(14, (10,), EVEN, lambda step: 5) == (1.0,)
    assert paper(14, (10, 9, 8), EVEN, lambda step: 2) == pytest.approx((5.0, -4.0))
    assert paper(14, (10, 9, 7), EVEN, lambda step: 3) == pytest.approx((1 + 4 / 3, 0.0, -4 / 3))
    assert all(line(14, (10, 9, 8, 5), k) == pytest.approx(14) for k in (2, 3, 4, 5))


def test_spans_go_with_the_steps_they_were_released_for():
    """13 of 50, Z-Image: gaps from 3, 5, 9, ..., with K 2, 1, 1, ..., 5 after 43 and 2 after 47."""
    fitted = MeanCache(13, carry="index").fit(SCHEDULE, SEGMENT)
    span = fitted.weights.keywords["span"]
    assert [span(step + 1) for step in (0, 3, 5, 9, 36, 43, 47)] == [2, 2, 1, 1, 1, 5, 2]
    assert [span(step + 1) for step in (4, 8, 44)] == [2, 1, 5], "computed for others: that of the step before"


@pytest.mark.parametrize(
    "method", [LeMiCa(20), LeMiCa(20, site="residual"), MeanCache(17), MeanCache(17, form="paper")]
)
def test_the_gate_as_offered_leaves_released_gaps_alone(method):
    """The longest is 8 steps."""
    carried = steps(method)
    assert plan(SCHEDULE, Settings(method)).totals["computed"] == len(set(carried))


def test_a_held_velocity_is_the_last_one():
    history = (Entry(0.5, torch.full((1, 1), 3.0), 4), Entry(0.6, torch.full((1, 1), 9.0), 3))
    assert LeMiCa(5).fit(SCHEDULE, SEGMENT).value(None, unit(6), None, history, None).item() == 3.0


def test_the_released_site_puts_back_the_residual(model):
    """A skipped step runs no block, at least as many are as without."""
    schedule = SCHEDULES["synchronous"]
    run = Run(guided(model), schedule, Settings(LeMiCa(5, site="residual"), Gate(9)))
    computed = sum("R" in step["modes"] for step in run.steps)
    assert run.trace.forwards == 2 * computed and 2 <= computed <= 5 and run.trace.memory


def recorded(count=8, seed=0):
    """Velocities [S, D] that drift, and their Gram matrix."""
    drift = np.random.default_rng(seed).normal(size=(count, 5)).cumsum(0)
    return drift, drift @ drift.T


def test_costs_are_the_lengths_of_what_a_forecast_misses():
    """Computed at 1 and 4, next at 7: steps 5, 6 and, as printed, 7 itself."""
    v, gram = recorded()
    line = [v[4] + (t - 4) * (v[4] - v[1]) / 3 for t in (5, 6, 7)]
    by_hand = sum(np.linalg.norm(v[t] - guess) for t, guess in zip((5, 6, 7), line))
    cost = costs(gram, 1)
    assert cost[1, 4, 7] == pytest.approx(by_hand) and cost[1, 4, 8] == pytest.approx(by_hand), "8 is the end"
    assert np.isfinite(cost).sum() == sum(1 for _ in combinations(range(9), 3))
    slope, before = (v[4] - v[1]) / 3, v[1] - v[0]
    parabola = v[4] + slope + (slope - before) / 4
    assert costs(gram, 2)[1, 4, 5] == pytest.approx(np.linalg.norm(v[5] - parabola)), "one step before i stands in"
    straight = np.outer(np.arange(9), [1.0, -2.0]) + 3
    exact = costs(straight @ straight.T, 1)
    assert exact[np.isfinite(exact)].max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_path_is_the_best_of_all(seed):
    _, gram = recorded(seed=seed)
    cost = costs(gram, 2)

    def total(steps):
        return sum(cost[i, j, k] for (i, j), (_, k) in pairwise(pairwise((*steps[1:], len(gram)))))

    for count in (3, 4, 5, 6):
        every = [(0, 1, 2, *more) for more in combinations(range(3, 8), count - 3)]
        exact, published = path(cost, count, True), path(cost, count, False)
        assert total(exact) == pytest.approx(min(map(total, every)))
        assert published in every and total(published) >= total(exact) - 1e-9
    assert path(cost, 8, True) == path(cost, 99, False) == tuple(range(8))


def test_the_published_recurrence_can_miss_the_best_path():
    found = 0
    for seed in range(40):
        cost = costs(recorded(12, seed)[1], 2)
        found += path(cost, 6, True) != path(cost, 6, False)
    assert found


def test_dpcache_is_planned_from_a_recorded_run(model):
    """Its forecast is TaylorSeer's, between the steps chosen."""
    schedule = SCHEDULES["synchronous"]
    run = Run(guided(model), schedule, Settings(Recorder()))
    gram = tuple(map(tuple, grams(run.controls[0].states).v.mean(0)))
    method = DPCache(5)
    assert method.needs_calibration and method.calibrated(()) == method
    method = method.calibrated((), gram)
    assert not method.needs_calibration and method.steps[:3] == (1, 2, 3) and len(method.steps) == 5
    assert method.calibrated((), gram[:4]) == method
    made = Run(guided(model), schedule, Settings(method))
    assert [i + 1 for i, step in enumerate(made.steps) if "R" in step["modes"]] == list(method.steps)
    history = tuple(Entry(0.5, torch.full((1, 1), 2.0 * s), s) for s in (9, 6, 2))
    fitted = method.fit(schedule, schedule.segments[0])
    assert fitted.value(None, unit(11), None, history, None).item() == pytest.approx(22)
    with pytest.raises(ValueError, match="DPCache has no recorded run .* run SCOPE Calibrate"):
        plan(schedule, Settings(DPCache(5)))
    full = DPCache(10).calibrated((), gram)
    off = Run(guided(model), schedule, PRESETS["off"]).latents
    assert torch.equal(Run(guided(model), schedule, Settings(full)).latents, off)


def test_budcache_computes_what_it_is_told():
    assert modes(BudCache(steps=(1, 2, 6)).fit(SCHEDULE, SEGMENT), 7) == "RRCCCRC"
    assert steps(BudCache(10)) == [0, 1, 2, 3, 11, 18, 26, 34, 41, 49], "0.3 B first ones, the rest evenly"
    assert len(steps(BudCache(99))) >= 50 and BudCache().caveat(SCHEDULE) and not BudCache(steps=(1,)).caveat(SCHEDULE)


@pytest.mark.parametrize("method", [BudCache, Reduced])
def test_listed_steps_beyond_the_run_are_told(method):
    """They are iterations, of which there are more than steps, for BudCache where one forward serves all chunks."""
    whole, lagging, by_chunk = SCHEDULES["synchronous"], SCHEDULES["asynchronous"], MAGI.schedule(12, 8, 4)
    iterations = lagging.segments[0].rows
    for schedule, last in (
        (whole, whole.steps),
        (lagging, iterations if method is BudCache else lagging.steps),
        (by_chunk, 8),
    ):
        fits, late = method(steps=(1, 2, last)), method(steps=(1, last + 3, last, last + 1))
        assert fits.caveat(schedule) == ""
        said = f"has {last}: {last + 1}, {last + 3} will be ignored. List steps from 1 to {last}"
        assert said in late.caveat(schedule)
        assert computed(schedule, late) == computed(schedule, method(steps=(1, last)))


def computed(schedule, method):
    return [step["modes"] for segment in plan(schedule, Settings(method)).segments for step in segment.steps]


def test_its_steps_are_iterations_where_one_forward_serves_all():
    """Chunks that enter at iterations 1, 4 and 7 of 16; those that nobody is told to compute are held by all."""
    schedule = SCHEDULES["asynchronous"]
    chosen = (1, 2, 4, 7, 9, 12, 15)
    made = plan(schedule, Settings(BudCache(steps=chosen))).segments[0].steps
    assert [i + 1 for i, step in enumerate(made) if "R" in step["modes"]] == list(chosen)
    (segment,) = MAGI.schedule(18, 16, 2).segments
    assert BudCache(steps=(1, 5)).fit(MAGI.schedule(18, 16, 2), segment).lag == 0


def far_from(target):
    """Loss that counts how far the computed steps are from some."""
    return lambda chosen: sum((a - b) ** 2 for a, b in zip(chosen, target)) / 1000


def test_the_search_finds_the_best_list():
    target, looked, told = (1, 2, 3, 7, 12, 20, 25, 33, 38, 40), [], []

    def evaluate(chosen):
        looked.append(chosen)
        return far_from(target)(chosen)

    found = search(evaluate, 40, 10, forced=(40,), rounds=60, told=told.append)
    assert found.steps == target and found.loss == 0
    assert all(len(set(chosen)) == 10 and {1, 2, 3, 40} <= set(chosen) for chosen in looked)
    assert len(looked) == len(set(looked)) == found.evaluations <= 1 + 200 + 60 * 20
    assert [best.loss for best in told] == sorted((best.loss for best in told), reverse=True)
    assert search(far_from(target), 40, 10, (40,), rounds=60) == found, "the same seed"


def test_the_search_keeps_the_rules():
    allowed = lambda chosen: max(b - a for a, b in pairwise(chosen)) <= 6  # noqa: E731
    found = search(far_from((1, 2, 3, 4, 5, 6, 7, 8)), 30, 8, forced=(30,), allowed=allowed, annealing=30)
    assert allowed(found.steps) and found.steps[-1] == 30
    for budget, forced in ((3, (1, 9, 20, 30)), (4, (30,))):
        with pytest.raises(ValueError, match=f"no list of {budget} of 30 steps keeps the rules"):
            search(far_from((1,)), 30, budget, forced, allowed)
    assert search(lambda chosen: 1.0, 4, 4).steps == (1, 2, 3, 4), "nothing to swap"


def test_demo_lists_are_searched_on_the_final_latents(tmp_path):
    searched = budcache.Searched(SkyReelsDemo(), "synchronous", Gate(12, 1, 0), steps=8)
    assert searched.loss(tuple(range(1, 9))) == 0 and searched.forced == {1}
    assert searched.loss((1, 2, 3, 6)) > searched.loss((1, 2, 3, 4, 5, 6, 7)) > 0
    file, fewer = tmp_path / "found.json", (1, 2, 3, 6)
    for loss in (0.5, 0.2, 0.3):
        budcache.keep(file, "synchronous", Found(fewer, loss, 7))
    assert budcache.kept("synchronous", file) == {4: fewer} and '"loss": 0.2' in file.read_text()
    assert budcache.kept("another", file) == {} == budcache.kept("synchronous", tmp_path / "none")


def test_demo_lists_cost_what_they_say():
    """On a staircase the iterations in which a chunk enters are among them, and those that the gate computes."""
    searched = budcache.Searched(SkyReelsDemo(), "asynchronous", Gate(12, 1, 1), steps=8)
    assert {1, 6, 11, 8, 13} <= searched.forced and len(searched.forced) == 32 and searched.steps == 83
    assert searched.allowed(tuple(sorted(searched.forced | {2, 3})))
    assert not searched.allowed(tuple(sorted(searched.forced - {6})))


@pytest.mark.parametrize(
    "make, parts",
    [
        (lambda: LeMiCa(1), ["computed is 1", "[2, 50]", "10 to 25"]),
        (lambda: LeMiCa(table="Wan 5B"), ["'Wan 5B'", "Wan 1.3B, Wan 14B"]),
        (lambda: LeMiCa(carry="time"), ["'time'", "noise level, index"]),
        (lambda: MeanCache(51), ["computed is 51", "[2, 50]"]),
        (lambda: MeanCache(form="x"), ["'x'", "released, paper"]),
        (lambda: DPCache(2), ["computed is 2", "at least 3", "9 to 13"]),
        (lambda: DPCache(order=3), ["order is 3", "[1, 2]"]),
        (lambda: DPCache(search="greedy"), ["'greedy'", "published, exact"]),
        (lambda: DPCache(steps=(0, 4)), ["DPCache steps are 0, 4", "from 1"]),
        (lambda: BudCache(steps=(3, -1)), ["BudCache steps are 3, -1", "from 1"]),
        (lambda: BudCache(site="block"), ["'block'", "output, residual"]),
    ],
)
def test_settings_out_of_range_are_answered(make, parts):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        make()
    assert [part for part in parts if part not in str(error.value)] == []
