"""Errors as people read them."""

from execution import full_type_name
from scope_pack.nodes import classes_under
from scope_pack.nodes.comfy.families import NotPreparedError
from scope_pack.nodes.quality import DifferentVideosError
from scope_pack.scope_core import ScheduleError


def test_comfyui_shows_every_error_of_the_pack_by_a_short_name():
    shown = {full_type_name(error) for error in classes_under(Exception)}
    assert {"SCOPE.NotPreparedError", "SCOPE.DifferentVideosError", "SCOPE.ScheduleError"} <= shown
    assert not [name for name in shown if name.startswith("scope_pack")]
    assert {kind.__module__ for kind in (NotPreparedError, DifferentVideosError, ScheduleError)} == {"SCOPE"}
