"""Errors as people read them."""

import re
from types import SimpleNamespace

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from execution import full_type_name
from scope_pack.nodes import classes_under
from scope_pack.nodes.calibrate import Calibrate
from scope_pack.nodes.comfy import demo, reports
from scope_pack.nodes.comfy.families import NotPreparedError
from scope_pack.nodes.comfy.latents import UnsuitableError, check_video
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.nodes.loaders import LoadARModel, LoadDemo
from scope_pack.nodes.magi import MagiScheduleNode
from scope_pack.nodes.quality import DifferentVideosError
from scope_pack.nodes.sampling import ScopeSamplerSelect
from scope_pack.nodes.schedule import Sigmas
from scope_pack.scope_core import PRESETS, ScheduleError


def test_comfyui_shows_every_error_of_the_pack_by_a_short_name():
    shown = {full_type_name(error) for error in classes_under(Exception)}
    assert {"SCOPE.NotPreparedError", "SCOPE.DifferentVideosError", "SCOPE.ScheduleError"} <= shown
    assert not [name for name in shown if name.startswith("scope_pack")]
    assert {kind.__module__ for kind in (NotPreparedError, DifferentVideosError, ScheduleError)} == {"SCOPE"}


def test_latents_that_are_not_of_a_video_are_refused_by_every_sampler():
    audio, guider = torch.zeros(1, 64, 44), SimpleNamespace(model_patcher=demo.load_demo_model())
    with pytest.raises(UnsuitableError, match=r"not that of a video: its shape is \[1, 64, 44\]"):
        VideoSampler(None, PRESETS["off"], "unipc", print).sample(guider, None, {}, None, audio)
    with pytest.raises(UnsuitableError, match="of audio"):
        check_video(torch.zeros(1, 8, 16, 22), "audio")
    with pytest.raises(UnsuitableError, match="schedule node"):
        check_video(NestedTensor([torch.zeros(1, 16, 3, 8, 8), audio]))
    check_video(torch.zeros(1, 16, 8, 8))


@pytest.mark.parametrize("name", ["a" * 300, "影" * 90])
def test_a_report_name_that_no_file_system_takes_is_answered(name):
    with pytest.raises(ValueError, match=f"takes {len(name.encode())} bytes; use 200 at most"):
        reports.report_path(name)


MAGI = {"length": 24, "window": 4, "short_cut": "8,16,16", "kv_gpu_gb": 8.0}
CALIBRATE = {"seed": 0, "steps": 4, "cfg": 6.0, "shift": 8.0, "solver": "unipc"}
CHOICES = {
    "weight_dtype": lambda bad: LoadARModel.execute("a file", bad, "24"),
    "family": LoadDemo.execute,
    "look_back": lambda bad: MagiScheduleNode.execute(64, 64, 1, look_back=bad, **MAGI),
    "table": lambda bad: Sigmas.execute(50, 8.0, bad),
    "preset": lambda bad: ScopeSamplerSelect.execute(bad, "unipc", ""),
    "method": lambda bad: Calibrate.execute(*[None] * 4, method=bad, speed=2.0, **CALIBRATE),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("bad", ["nonsense", None, ["fast"]])
def test_a_choice_that_comes_through_a_link_and_is_none_is_answered(name, bad):
    with pytest.raises(ValueError, match=rf"^{name} is {re.escape(repr(bad))}; choose one of \w"):
        CHOICES[name](bad)


@pytest.mark.parametrize("speed", [0.0, 0.5, -2.0, 21.0, float("nan"), float("inf")])
def test_a_speed_out_of_reach_is_answered_before_a_run_is_recorded(speed):
    with pytest.raises(UnsuitableError, match=f"speed is {speed:g}; it has to be a number from 1 to 20"):
        Calibrate.execute(*[None] * 4, method="scope", speed=speed, **CALIBRATE)
