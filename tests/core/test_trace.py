"""The trace as it is sent: compact, and true to three digits."""

import json

import pytest

from scope_core import PRESETS, SKYREELS, plan
from scope_core.loop.trace import score_code

ITERATIONS, CHUNKS = 2000, 64


@pytest.mark.parametrize(
    "score, code",
    [
        (0.0, "0002"),
        (0.000243, "2436"),
        (0.5, "5003"),
        (0.31249, "3123"),
        (0.99951, "1002"),
        (1.0, "1002"),
        (12.34, "1231"),
        (999.0, "9990"),
        (2.43e-7, "2439"),
        (4e-9, "0049"),
        (1e-12, "0009"),
        (1e8, "9990"),
    ],
)
def test_a_score_takes_four_digits(score, code):
    assert score_code(score) == code


@pytest.mark.parametrize("preset", PRESETS)
def test_a_long_run_stays_below_a_megabyte(preset):
    """2,000 iterations of 64 chunks, nearly all of them active at each: json.dumps with its own separators is what
    ComfyUI sends."""
    schedule = SKYREELS.schedule(frames=CHUNKS, window=CHUNKS, steps=ITERATIONS - CHUNKS + 1, ar_step=1, causal=True)
    table = [0.0] + [10 ** (-step % 70 / 10) / 1e6 for step in range(schedule.steps)]
    trace = plan(schedule, PRESETS[preset], table)
    for step in trace.segments[0].steps:
        step["seconds"] = 12.34567
    assert schedule.iterations == ITERATIONS
    assert len(json.dumps({"type": "executed", "data": {"output": {"scope_trace": [trace.to_json()]}}})) < 1_000_000
