"""Segments of a long video beside the one that they were joined to in a LATENT, so that each can be decoded alone."""

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...scope_core.loop.rollout import join
from ...scope_core.schedule import ARSchedule
from . import quality, room

KEY = "scope_segments"
"""In a LATENT. Other nodes pass it on or drop it, and Save Latent does not save it."""
WHOLE = (
    "SCOPE: the latent has no segments, so it is decoded as a whole, as VAE Decode does. That is right for a video of"
    " one window. Of a long one Load Latent and SCOPE Sampler (Advanced) give no segments: connect the LATENT of SCOPE"
    " Sampler instead, or see the help of SCOPE Decode Segments."
)


class GivenVideoError(ValueError):
    """A video that the decoded one cannot go on from. The message says what to change."""


class Segments(NamedTuple):
    latents: list[Tensor]
    """As they were sampled [B, C, F, H, W], with their known first frames. The video may have fewer frames."""
    schedule: ARSchedule


def as_latent(latents: list[Tensor], schedule: ARSchedule, frames: int) -> dict[str, Any]:
    """LATENT of a video of so many latent frames, and of its segments where decoding them alone differs."""
    made: dict[str, Any] = {"samples": join(latents, schedule.overlap)[:, :, :frames]}
    if not schedule.family.by_chunk and (len(latents) > 1 or schedule.prefix):
        made[KEY] = Segments(latents, schedule)
    return made


def segments_of(latent: dict[str, Any]) -> Segments | None:
    """The segments of a LATENT, or None where it has none, or is no longer the video that they were joined to."""
    segments = latent.get(KEY)
    if segments is None:
        logging.info(WHOLE)
        return None
    made = latent["samples"]
    joined = join(segments.latents, segments.schedule.overlap)[:, :, : made.shape[2]]
    if torch.equal(joined, made.to(joined)):
        return segments
    logging.warning(
        "SCOPE: the latent was changed after it was sampled, so it is decoded as a whole and not segment by segment."
    )
    return None


def decode(vae, latent: dict[str, Any], given: Tensor | None = None) -> Tensor:
    """Images [B * T, H, W, C]: every segment decoded alone, and joined without the frames that it took over. Of
    `given` [T, H, W, C] the last frames are those that the video starts from; they stay as they are.

    A latent without segments is decoded as a whole. Raises GivenVideoError.
    """
    segments = segments_of(latent)
    if given is not None:
        check_given(given, segments)
    if segments is None:
        return quality.decode(vae, latent["samples"])
    schedule = segments.schedule
    start, overlap = (schedule.family.pixel_frames(frames) for frames in (schedule.prefix, schedule.overlap))
    cut = schedule.family.pixel_frames(schedule.frames) - schedule.family.pixel_frames(latent["samples"].shape[2])
    clips: list[Tensor] = []
    for index, made in enumerate(segments.latents):
        clip = room.decode(vae, made)
        if index:
            clip = clip[:, overlap:]
        elif given is not None:
            check_size(given, clip)
            clips.append(given[..., :3].to(clip).expand(len(clip), -1, -1, -1, -1))
            clip = clip[:, start:]
        clips.append(clip)
    video = torch.cat(clips, dim=1)
    return video[:, : video.shape[1] - cut].flatten(0, 1)


def check_given(given: Tensor, segments: Segments | None) -> None:
    """Raises GivenVideoError where the latent does not start from frames of this video."""
    if segments is None or not segments.schedule.prefix:
        raise GivenVideoError(
            "`video` is connected, but the latent does not say that it starts from given frames: it has to come"
            " straight from SCOPE Sampler, not from Load Latent, with `start` of AR Schedule connected; disconnect"
            " `video` to decode all frames"
        )
    start = segments.schedule.family.pixel_frames(segments.schedule.prefix)
    if len(given) < start:
        raise GivenVideoError(
            f"`video` has {len(given)} frames, but {start} were encoded for `start` of AR Schedule; connect the video"
            f" that they were taken from, whose last {start} frames they are"
        )


def check_size(given: Tensor, clips: Tensor) -> None:
    """Raises GivenVideoError where images [T, H, W, C] and clips [B, T, H, W, C] differ in size."""
    if given.shape[1:3] != clips.shape[2:4]:
        height, width = clips.shape[2:4]
        raise GivenVideoError(
            f"`video` is {given.shape[2]}x{given.shape[1]} and the video made is {width}x{height}; scale it to"
            f" {width}x{height} first, as for VAE Encode"
        )
