"""The schedule: which frame is at which noise level at which iteration (docs/skyreels.md 4)."""

import itertools

import numpy as np
import pytest
from diffusers import UniPCMultistepScheduler

from scope_core import MAGI, SKYREELS, ScheduleError
from scope_core.families.magi import step_size
from scope_core.families.skyreels import snap_length, timesteps, window_advice
from scope_core.schedule import step_matrix
from scope_core.schedule.columns import window_columns

latent_frames, pixel_frames = SKYREELS.latent_frames, SKYREELS.pixel_frames


def valid_schedules():
    """Settings that fit together: lengths, windows, lags, start and end frames, step counts that do not divide."""
    for frames, overlap, block, ar_step, prefix, tail, steps in itertools.product(
        (1, 5, 8, 9, 13, 21), (3, 6), (1, 3, 5), (0, 1, 5), (0, 1, 4), (0, 2), (5,)
    ):
        if prefix < min(frames, 8) and (frames <= 8 or not ar_step or overlap % block == 0):
            yield SKYREELS.schedule(frames, steps, 8, overlap, block, ar_step, prefix=prefix, tail=tail)


def test_row_count_is_steps_plus_the_lag_of_the_last_block():
    for steps, blocks, ar_step in itertools.product((2, 7, 50), (1, 2, 5), (0, 1, 2, 7, 50)):
        if ar_step <= steps:
            assert step_matrix(steps, blocks, ar_step).shape == (steps + (blocks - 1) * ar_step, blocks)


def test_each_block_follows_the_one_before_it_by_the_lag():
    matrix = step_matrix(50, 5, 5)
    for block in range(1, 5):
        assert np.array_equal(matrix[5:, block], matrix[:-5, block - 1])
        assert not matrix[: 5 * block, block].any()
    assert matrix[:, 0].tolist() == [*range(1, 51), *[51] * 20]
    assert matrix[-1].tolist() == [51, 51, 51, 51, 50]


def test_iterations_are_counted_before_any_matrix_is_made():
    """Those of a schedule that is refused for its size would not fit into memory."""
    for schedule in valid_schedules():
        assert [segment.rows for segment in schedule.segments] == [len(segment.matrix) for segment in schedule.segments]
    large = SKYREELS.schedule(2049, 1000, 257, 129, 1, 100)
    assert large.iterations == 218_400 and not any("matrix" in vars(segment) for segment in large.segments)


def test_published_long_video_is_three_windows_of_200_iterations():
    schedule = SKYREELS.schedule(latent_frames(257), 50, latent_frames(97), latent_frames(17), 5, 5)
    assert schedule.frames == 65
    assert [(s.start, s.frames, s.prefix) for s in schedule.segments] == [(0, 25, 0), (20, 25, 5), (40, 25, 5)]
    assert [len(s.matrix) for s in schedule.segments] == [70, 65, 65]
    assert schedule.iterations == 200
    assert schedule.asynchronous


@pytest.mark.parametrize(
    "block, ar_step, rows", [(1, 0, [50, 50, 50]), (1, 2, [98, 88, 88]), (5, 2, [58, 56, 56]), (5, 15, [110, 95, 95])]
)
def test_rows_of_published_settings(block, ar_step, rows):
    schedule = SKYREELS.schedule(65, 50, 25, 5, block, ar_step)
    assert [len(s.matrix) for s in schedule.segments] == rows


def test_last_window_is_as_short_as_what_is_left():
    schedule = SKYREELS.schedule(48, 50, 25, 5, 5, 5)
    assert [(s.start, s.frames, s.free) for s in schedule.segments] == [(0, 25, 25), (20, 25, 20), (40, 8, 3)]
    assert schedule.segments[-1].units == (slice(5, 8),)


def test_length_that_is_not_whole_keeps_its_last_short_block():
    (segment,) = SKYREELS.schedule(23, 50, 25, 5, 5, 5).segments
    assert [u.stop - u.start for u in segment.units] == [5, 5, 5, 5, 3]
    assert segment.matrix.shape == (70, 23)


def test_image_prefix_is_not_truncated_to_whole_chunks():
    (segment,) = SKYREELS.schedule(25, 50, 25, 5, 5, 5, prefix=1).segments
    assert (segment.prefix, segment.free) == (1, 24)
    assert segment.blocks == (slice(0, 1), slice(1, 6), slice(6, 11), slice(11, 16), slice(16, 21), slice(21, 25))
    assert segment.units == segment.blocks[1:]
    assert (segment.matrix[:, 0] == 51).all() and not segment.update[:, 0].any()


def test_prefix_blocks_are_counted_back_from_its_end():
    (segment,) = SKYREELS.schedule(17, 50, 25, 5, 5, 5, prefix=7).segments
    assert segment.blocks == (slice(0, 2), slice(2, 7), slice(7, 12), slice(12, 17))
    assert segment.units == (slice(7, 12), slice(12, 17))


def test_tail_frames_are_clean_and_stand_behind_the_last_window_only():
    schedule = SKYREELS.schedule(13, 7, 8, 3, tail=2)
    assert [s.tail for s in schedule.segments] == [0, 2]
    last = schedule.segments[-1]
    assert last.frames == last.prefix + last.free + 2
    assert (last.matrix[:, -2:] == 8).all() and not last.update[:, -2:].any()
    assert all((step.sigma[-2:] == 0).all() for step in last.iterations)


def test_every_free_frame_takes_every_step_once_and_in_order():
    schedules = list(valid_schedules())
    for schedule in schedules:
        for segment in schedule.segments:
            taken = [[] for _ in range(segment.frames)]
            for step in segment.iterations:
                assert step.active
                for frame in np.flatnonzero(step.update):
                    assert step.sigma[frame] == segment.sigmas[step.k[frame]]
                    taken[frame].append(int(step.k[frame]))
            free = range(segment.prefix, segment.prefix + segment.free)
            assert all(taken[f] == (list(range(segment.steps)) if f in free else []) for f in range(segment.frames))
    assert len(schedules) > 300


def test_segments_and_blocks_cover_the_video_without_gap_or_repeat():
    for schedule in valid_schedules():
        end = schedule.prefix
        for segment in schedule.segments:
            assert segment.start + segment.prefix == end and segment.free > 0
            end += segment.free
            assert segment.frames - segment.tail <= schedule.window
            covered = [f for block in segment.blocks for f in range(block.start, block.stop)]
            assert covered == list(range(segment.frames))
            free = covered[segment.prefix : segment.prefix + segment.free]
            assert [f for u in segment.units for f in range(u.start, u.stop)] == free
        assert end == schedule.frames


def test_units_are_what_shares_a_noise_level():
    for schedule in valid_schedules():
        for segment in schedule.segments:
            for step in segment.iterations:
                for unit in step.units:
                    assert (step.sigma[unit.frames] == unit.sigma).all()
                    assert (step.update[unit.frames] == unit.advances).all()
                    assert unit.advances == (1 <= unit.step <= unit.steps)


def test_forwarded_columns_hold_every_active_frame_and_only_grow():
    """Paper Eq. 8-9: the interval ends behind the newest active frame."""
    for schedule in valid_schedules():
        for segment in schedule.segments:
            stops = [columns.stop for columns in window_columns(segment, "paper", causal=False)]
            assert stops == sorted(stops)
            for step, stop in zip(segment.iterations, stops):
                assert segment.tail or stop == 1 + np.flatnonzero(segment.update[: step.index + 1].any(0))[-1]
            whole = [slice(0, segment.frames)] * len(segment.matrix)
            assert window_columns(segment, "full", causal=True) == whole
            assert window_columns(segment, "auto", causal=False) == whole
            assert [c.stop for c in window_columns(segment, "auto", causal=True)] == stops


def test_selective_computation_saves_what_was_counted_by_hand():
    schedule = SKYREELS.schedule(65, 50, 25, 5, 5, 5)
    assert sum(c.stop for s in schedule.segments for c in window_columns(s, "paper", causal=False)) == 4450


def test_unknown_selection_of_columns_is_answered():
    (segment,) = SKYREELS.schedule(5).segments
    with pytest.raises(ValueError, match="'active'.*auto, full, paper"):
        window_columns(segment, "active", causal=True)


@pytest.mark.parametrize(
    "table, head, tail, last_timesteps",
    [
        ("official", [0.999875, 0.99733, 0.99469], [0.2498, 0.1402, 0], [337, 249, 140]),
        ("diffusers", [0.999999, 0.9975], [0], [341, 254, 146]),
    ],
)
def test_sigma_table_of_50_steps(table, head, tail, last_timesteps):
    sigmas = SKYREELS.sigmas(50, 8.0, table)
    assert len(sigmas) == 51 and sigmas.dtype == np.float64
    assert sigmas[: len(head)] == pytest.approx(head, abs=6e-6 if table == "official" else 1e-4)
    assert sigmas[-len(tail) :] == pytest.approx(tail, abs=5e-5)
    assert timesteps(sigmas[:-1])[:1] == 999
    assert timesteps(sigmas[:-1])[-3:].tolist() == last_timesteps


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0, 5.0, 8.0, 12.0])
def test_diffusers_sigma_table_is_that_of_its_scheduler(shift):
    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift, solver_order=2
    )
    for steps in range(2, 101):
        scheduler.set_timesteps(steps)
        sigmas = SKYREELS.sigmas(steps, shift, "diffusers")
        assert np.abs(sigmas - scheduler.sigmas.double().numpy()).max() < 1e-7
        assert timesteps(sigmas[:-1]).tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0, 5.0, 8.0, 12.0])
def test_official_timesteps_are_those_of_the_release(shift):
    """Cut to whole numbers from levels between the first and last of 1000 in single precision."""
    first = float(np.float32(1 - 1 / 1000))
    for steps in range(2, 101):
        s = np.linspace(first, 0, steps + 1)[:-1]
        told = (1000 * (shift * s / (1 + (shift - 1) * s))).astype(int)
        assert timesteps(SKYREELS.sigmas(steps, shift, "official")[:-1]).tolist() == told.tolist()


def test_sigma_tables_fall_strictly():
    for steps, shift, table in itertools.product((2, 50, 200), (0.5, 1.0, 8.0, 30.0), ("official", "diffusers")):
        assert (np.diff(SKYREELS.sigmas(steps, shift, table)) < 0).all()


def test_explicit_levels_replace_the_table():
    schedule = SKYREELS.schedule(5, 4, levels=(1.0, 0.9, 0.6, 0.2, 0.0))
    assert schedule.sigmas.tolist() == [1 - 1e-4, 0.9, 0.6, 0.2, 0.0]
    assert schedule.segments[0].steps == 4


def test_explicit_levels_stay_distinct():
    """Two equal levels would divide by zero in the solver and in the predictors."""
    assert (np.diff(SKYREELS.schedule(5, 4, levels=(1.0, 0.99999, 0.99995, 0.5, 0.0)).sigmas) < 0).all()


@pytest.mark.parametrize(
    "settings, parts",
    [
        (dict(steps=1), ["steps is 1", "at least 2", "30 to 50"]),
        (dict(frames=0), ["0 latent frames", "at least 1"]),
        (dict(shift=0.0), ["shift is 0", "between 0.01 and 1000", "8 for text to video"]),
        (dict(shift=1e9), ["shift is 1e+09", "between 0.01 and 1000"]),
        (dict(shift=float("inf")), ["shift is inf", "between 0.01 and 1000"]),
        (dict(shift=float("nan")), ["shift is nan", "between 0.01 and 1000"]),
        (dict(block=0), ["chunk is 0", "between 1 and the window of 25"]),
        (dict(block=26), ["chunk is 26", "between 1 and the window of 25"]),
        (dict(ar_step=-1), ["ar_step is -1", "between 0", "steps = 50"]),
        (dict(ar_step=51), ["ar_step is 51", "between 0", "steps = 50"]),
        (dict(condition_noise=1000), ["condition_noise is 1000", "[0, 1000)", "20 is usual"]),
        (dict(condition_noise=-1), ["condition_noise is -1", "[0, 1000)"]),
        (dict(prefix=25), ["start has 25 latent frames", "window of 25", "fewer start frames"]),
        (dict(frames=4, prefix=4), ["start has 4 latent frames", "window of 4"]),
        (dict(overlap=0), ["overlap is 0", "between 1 and 24", "93 frames"]),
        (dict(overlap=25), ["overlap is 25", "between 1 and 24"]),
        (dict(block=3, ar_step=2), ["overlap is 5", "chunk of 3", "9 or 21 frames", "another chunk"]),
        (dict(block=3, causal=True), ["overlap is 5", "chunk of 3", "9 or 21 frames"]),
        (dict(tail=1, causal=True), ["end has 1 latent frame,", "Turn causal off", "disconnect the end"]),
        (dict(table="karras"), ["'karras'", "'official' or 'diffusers'"]),
        (dict(steps=3, levels=(1.0, 0.5, 0.0)), ["in 3 steps", "1, 0.5, 0 ... 0", "denoise 1"]),
        (dict(steps=3, levels=(1.0, 0.5, 0.5, 0.0)), ["without repeats", "1, 0.5, 0.5 ... 0"]),
        (dict(steps=3, levels=(1.0, 0.6, 0.4, 0.1)), ["1 to 0", "... 0.1", "denoise 1"]),
        (dict(steps=3, levels=(0.5, 0.3, 0.1, 0.0)), ["about 1 to 0", "0.5, 0.3, 0.1 ... 0", "denoise 1"]),
        (dict(steps=3, levels=(14.6, 5.0, 2.0, 0.0)), ["about 1 to 0", "14.6, 5, 2 ... 0", "denoise 1"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_are_answered(settings, parts):
    """docs/architecture.md, law 7: the message names the value, the allowed range and the way out."""
    with pytest.raises(ScheduleError) as error:
        _ = SKYREELS.schedule(**{"frames": 65, **settings}).sigmas
    assert [part for part in parts if part not in str(error.value)] == []


def test_the_overlaps_that_a_message_suggests_are_accepted():
    for overlap in (9, 21):
        assert SKYREELS.schedule(65, 50, 25, latent_frames(overlap), 3, 2).asynchronous


@pytest.mark.parametrize(
    "pixels, block, snapped, reasons",
    [
        (257, 5, 257, []),
        (97, 5, 97, []),
        (95, 1, 97, ["95 frames became 97", "4 pixel frames make one latent frame"]),
        (101, 5, 117, ["101 frames became 117", "the last chunk of 5 latent frames has to be full"]),
        (100, 5, 117, ["100 frames became 117", "4 pixel frames make one latent frame", "the last chunk of 5"]),
        (1, 5, 17, ["1 frames became 17", "the last chunk of 5"]),
    ],
)
def test_snapped_length_and_its_reasons(pixels, block, snapped, reasons):
    length, why = snap_length(pixels, window=25, overlap=5, block=block)
    assert length == snapped
    assert bool(why) == bool(reasons) and [reason for reason in reasons if reason not in why] == []


def test_snapped_length_ends_with_a_full_chunk_where_that_needs_no_further_segment():
    def segments(latents, block, prefix):
        return SKYREELS.schedule(latents, 50, 25, 5, block, prefix=prefix).segments

    def full(latents, block, prefix):
        return segments(latents, block, prefix)[-1].free % block == 0

    for block, prefix in itertools.product((1, 2, 5, 7, 20), (0, 1)):
        for pixels in range(6, 300, 7):
            snapped, why = snap_length(pixels, window=25, overlap=5, block=block, prefix=prefix)
            latents = latent_frames(pixels)
            shortest = next((n for n in range(latents, 400) if full(n, block, prefix)), 400)
            fits = len(segments(shortest, block, prefix)) == len(segments(latents, block, prefix))
            assert snapped == pixel_frames(shortest if fits else latents)
            assert (why == "") == (snapped == pixels)


@pytest.mark.parametrize("overlap", [25, 30])
def test_a_video_that_fits_its_window_has_no_overlap_to_be_measured_with(overlap):
    for block, pixels in itertools.product((1, 2, 5, 7, 25), range(1, 98)):
        lengths = [snap_length(pixels, window=25, overlap=n, block=block) for n in (5, overlap)]
        assert lengths[0] == lengths[1], (block, pixels)


@pytest.mark.parametrize(
    "frames, width, window, block, words",
    [
        (97, 960, 97, 5, []),
        (97, 1280, 97, 1, ["720P models were released with a window of 121 frames, this has 97"]),
        (121, 1280, 121, 1, []),
        (121, 1280, 121, 5, ["has 1 of 5 latent frames", "in a window of 117 frames all are whole"]),
        (257, 1280, 121, 5, ["has 1 of 5 latent frames", "in a window of 117 frames all are whole"]),
        (257, 1280, 117, 5, []),
        (97, 1280, 121, 5, []),
    ],
)
def test_a_window_that_does_not_fit_its_size_or_its_chunk_is_told(frames, width, window, block, words):
    """The release has 121 frames for 720P, which chunks of 5 do not divide: it would lose the last latent frame."""
    size = width * (720 if width == 1280 else 544)
    said = window_advice(latent_frames(frames), size, window=latent_frames(window), block=block)
    assert bool(said) == bool(words) and [word for word in words if word not in " ".join(said)] == []


def test_pixel_and_latent_lengths_are_inverse():
    assert [latent_frames(n) for n in (1, 2, 5, 6, 17, 97, 257)] == [1, 2, 2, 3, 5, 25, 65]
    assert all(latent_frames(pixel_frames(n)) == n for n in range(1, 50))


def test_a_schedule_of_which_nothing_is_said_is_the_released_one():
    assert SKYREELS.defaults == (50, 6.0, 8.0, "unipc") and MAGI.defaults == (64, 7.5, 3.0, "euler")
    usual = SKYREELS.schedule(97)
    assert (usual.steps, usual.window, usual.overlap, usual.block, usual.ar_step) == (50, 25, 5, 1, 0)
    assert (usual.condition_noise, usual.shift, usual.table, usual.causal) == (20, 8.0, "official", False)
    chunks = MAGI.schedule(24)
    assert (chunks.steps, chunks.ar_step, chunks.block, chunks.shift) == (64, 16, 6, 3.0)
    assert (chunks.table, chunks.causal, chunks.condition_noise) == ("magi 8,16,16", True, 0)
    assert step_size(12) == 4.0 and step_size(12, within=1) == 8.0


def test_some_of_its_steps_make_a_schedule_of_fewer():
    """At the same levels; the lag shrinks with their number; all of them make the same one."""
    schedule = SKYREELS.schedule(10, 50, 10, block=2, ar_step=5)
    fewer = schedule.only((1, 4, 9, 20, 50))
    assert fewer.steps == 5 and fewer.ar_step == 1 and fewer.levels[-1] == 0
    assert fewer.sigmas[:-1].tolist() == [schedule.sigmas[step - 1] for step in (1, 4, 9, 20, 50)]
    assert schedule.only((9, 4)).steps == 3, "the first step is always one of them"
    for whole in (schedule, MAGI.schedule(24, 16), SKYREELS.schedule(10, 7)):
        same = whole.only(range(1, whole.steps + 1))
        assert np.array_equal(same.sigmas, whole.sigmas) and same.ar_step == whole.ar_step
    assert MAGI.schedule(24, 64).only(range(1, 64, 4)).ar_step == 4
    for wrong in ((0, 3), (3, 51)):
        with pytest.raises(ScheduleError, match="they count from 1 to 50"):
            schedule.only(wrong)
