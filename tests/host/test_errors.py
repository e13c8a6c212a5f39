"""Errors as people read them."""

from types import SimpleNamespace

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from execution import full_type_name
from scope_pack.nodes import classes_under
from scope_pack.nodes.comfy import demo, reports
from scope_pack.nodes.comfy.families import NotPreparedError
from scope_pack.nodes.comfy.latents import UnsuitableError, check_video
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.nodes.quality import DifferentVideosError
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
