"""Calibrations: found again for the same circumstances, refused for others, and settings for a wanted speed."""

import json
from dataclasses import replace

import pytest

from scope_core import SKYREELS
from scope_core.loop.plan import plan
from scope_core.methods import Gate, Scope
from scope_core.settings import Settings
from scope_core.study.calibration import Calibration, CalibrationError, Calibrations, Circumstances

SCHEDULE = SKYREELS.schedule(16, 20, 16, 5, 2, 2)
CIRCUMSTANCES = Circumstances.of("fingerprint", SCHEDULE, 6.0)
CHANGES = {"modulation": (0.1,) * 20, "sigma": tuple(i / 100 for i in range(20))}
GRAM = tuple(tuple(float(i * j) for i in range(20)) for j in range(20))
CALIBRATION = Calibration(CIRCUMSTANCES, (1.0,) + (0.99,) * 19, CHANGES, GRAM)


def test_found_again(tmp_path):
    kept = Calibrations(tmp_path / "not there yet")
    path = kept.save(CALIBRATION)
    assert kept.find(Circumstances.of("fingerprint", SCHEDULE, 6.0)) == CALIBRATION
    assert [path] == list(path.parent.glob("*.json"))
    kept.save(replace(CALIBRATION, ratios=(1.0,) * 20))
    assert kept.find(CIRCUMSTANCES).ratios == (1.0,) * 20


@pytest.mark.parametrize(
    "change, words",
    [
        ({"steps": 30}, "steps 20 instead of 30"),
        ({"shift": 5.0}, "shift 8.0 instead of 5.0"),
        ({"guidance": 1.0}, "cfg 6.0 instead of 1.0"),
        ({"model": "other"}, r"another model or LoRA \(or is from before SCOPE 0\.7\.0, .*\)"),
        ({"lag": 0}, "ar_step 2 instead of 0"),
        ({"causal": True}, "causal False instead of True"),
        ({"chunk": 1}, "chunk 2 instead of 1"),
    ],
)
def test_refused_with_what_differs(tmp_path, change, words):
    kept = Calibrations(tmp_path)
    with pytest.raises(CalibrationError, match="no model has been calibrated"):
        kept.find(CIRCUMSTANCES)
    kept.save(CALIBRATION)
    kept.save(replace(CALIBRATION, circumstances=Circumstances("far", 7, 1.0, 2.0, "other", 9, 9, True)))
    with pytest.raises(CalibrationError, match=f"the nearest calibration has {words}; run SCOPE Calibrate"):
        kept.find(replace(CIRCUMSTANCES, **change))


def test_of_another_version_is_refused():
    data = json.loads(json.dumps(CALIBRATION.to_json()))
    assert Calibration.from_json(data) == CALIBRATION
    del data["gram"]
    assert Calibration.from_json(data) == replace(CALIBRATION, gram=()), "files from before it was recorded"
    for wrong in ({"version": 99}, {"format": "scope.trace"}):
        with pytest.raises(CalibrationError, match="run SCOPE Calibrate again"):
            Calibration.from_json(data | wrong)


def test_scales_are_what_signals_add_up_to():
    assert CALIBRATION.scales == {"modulation": pytest.approx(2.0), "sigma": pytest.approx(1.9)}


TOGETHER = SKYREELS.schedule(4, 20, 4, 0, 4, 0)
CADENCES = [Settings(Scope(tau_c=0.0, tau_p=9.0, signal="sigma"), Gate(n)) for n in range(6)]


@pytest.mark.parametrize("speed", [1.0, 1.5, 2.0, 3.0])
def test_settings_for_a_speed_reach_it(speed):
    settings, reached = CALIBRATION.for_speed(TOGETHER, CADENCES, speed)
    made = plan(TOGETHER, settings, CALIBRATION.table("sigma")).totals
    assert reached == made["iterations"] / made["computed"] and abs(reached - speed) < 0.4


def test_the_first_settings_that_reach_a_speed_are_taken():
    """From 19 skipped steps in a row on, more change nothing."""
    careful, same = (replace(CADENCES[0], gate=Gate(n)) for n in (30, 40))
    _, speed = CALIBRATION.for_speed(TOGETHER, [careful], 9.0)
    assert CALIBRATION.for_speed(TOGETHER, [careful, same], speed) == (careful, speed)
    assert CALIBRATION.for_speed(TOGETHER, [same, careful], speed) == (same, speed)
