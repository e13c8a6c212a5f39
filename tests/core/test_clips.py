"""Clips are written and read back."""

import imageio.v3 as imageio
import pytest
import torch

from scope_core.study.clips import write_clip


@pytest.mark.parametrize("ending, plugin", [(".mp4", "pyav"), (".gif", "pillow")])
def test_clip_is_read_back(tmp_path, ending, plugin):
    video = torch.zeros(3, 9, 32, 32)
    video[0] = torch.linspace(0, 1, 9)[:, None, None]
    write_clip(video, tmp_path / f"clip{ending}")
    frames = imageio.imread(tmp_path / f"clip{ending}", plugin=plugin)
    assert frames.shape == (9, 32, 32, 3)
    assert frames[0].max() < 40 and frames[-1][..., 0].min() > 200 and frames[-1][..., 1:].max() < 60


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=".webm"):
        write_clip(torch.zeros(3, 2, 8, 8), tmp_path / "clip.webm")
