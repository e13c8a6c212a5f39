"""Causal Wan with keys and values kept, against loops that forward the whole video under a mask; its schedule, window
and names."""

import numpy as np
import pytest
import torch

from scope_core import CAUSAL_WAN, PRESETS, plan, sample
from scope_core.families.causal_wan import GuidedChunks, KeyValues, Trained, few_steps, trained
from scope_core.loop.solver import UniPC
from scope_core.methods import Gate, Scope, TaylorSeer, TeaCache
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.schedule import ScheduleError
from scope_core.settings import Settings
from scope_core.signals.table import change_table

STEPS, CFG = 6, 3.0
TOLERANCE = 2e-5
SKIPPING = [
    Settings(Scope(tau_c=9, tau_p=20, decay_mode="none"), Gate(3, 1, 1)),
    Settings(TaylorSeer(2), Gate(2, 1, 1)),
    Settings(TaylorSeer(3), Gate(3, 1, 1), correct=True),
    Settings(TeaCache(9), Gate(2, 1, 1)),
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return WanTransformer(WanConfig(48, 96, 2, 2, text_dim=8)).eval()


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CHUNKS_OF_3 = Trained(3)


def model(network, told=CHUNKS_OF_3):
    return GuidedChunks(network, random(1, 4, 8, seed=2), random(1, 5, 8, seed=3), CFG, told)


def may_attend(frames, told):
    """[F, F] bool by frames: a chunk's own, those of the window before its end, and the sink."""
    mask = torch.zeros(frames, frames, dtype=torch.bool)
    for query in range(frames):
        end = (query // told.chunk + 1) * told.chunk
        for key in range(end):
            first = key // told.chunk * told.chunk
            mask[query, key] = first < told.sink or first >= end - (told.window - told.sink)
    return mask


@torch.no_grad()
def by_mask(network, noise, told, solver, known=None):
    """Every chunk through all its steps, with everything before it forwarded clean beside it each time."""
    x, frames = noise.clone(), noise.shape[2]
    fixed = 0 if known is None else known.shape[2]
    if fixed:
        x[:, :, :fixed] = known
    sigmas = CAUSAL_WAN.sigmas(STEPS, 5.0, "official")
    mask, term = may_attend(frames, told), model(network)
    for start in range(0, frames, told.chunk):
        chunk = slice(start, start + told.chunk)
        free = slice(max(start, fixed), chunk.stop)
        if free.start >= chunk.stop:
            continue
        take = UniPC(sigmas, match_reference=False) if solver == "unipc" else None
        for step in range(STEPS):
            t = torch.zeros(1, chunk.stop)
            t[:, free] = int(1000 * sigmas[step])
            part = mask[: chunk.stop, : chunk.stop]
            plus, minus = (network(x[:, :, : chunk.stop], t, text, part) for text in (term.positive, term.negative))
            v = (minus + CFG * (plus - minus))[:, :, free]
            if take is None:
                x[:, :, free] += (sigmas[step + 1] - sigmas[step]) * v
            else:
                k, update = np.full(v.shape[2], step), np.ones(v.shape[2], bool)
                x[:, :, free] = take.step(x[:, :, free].clone(), v, k, update, ~update)
    return x


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize(
    "told, frames",
    [(Trained(3), 9), (Trained(1), 4), (Trained(2, 4), 8), (Trained(2, 6, 2), 12), (Trained(1, 3, 1), 6)],
    ids=["chunks", "frames", "window", "window and sink", "frames, window and sink"],
)
def test_kept_keys_and_values_are_a_mask(network, told, frames, solver):
    noise = random(1, 16, frames, 4, 4)
    schedule = CAUSAL_WAN.schedule(frames, STEPS, told.chunk)
    term = model(network, told)
    made, trace, _ = sample(term, noise, schedule, PRESETS["off"], solver=solver)
    assert (made - by_mask(network, noise, told, solver)).abs().max() <= TOLERANCE
    chunks = frames // told.chunk
    assert trace.totals["computed"] == trace.totals["iterations"] == chunks * STEPS
    assert term.forwards == trace.forwards == 2 * (chunks * STEPS + chunks - 1)


@pytest.mark.parametrize("chunk, known", [(1, 1), (3, 3), (3, 1), (3, 4)])
def test_known_frames(network, chunk, known):
    """An image or a video to go on from: whole chunks are read, the rest of a chunk is put back and shown clean."""
    told, frames = Trained(chunk), 6
    noise, start = random(1, 16, frames, 4, 4), random(1, 16, known, 4, 4, seed=4)
    schedule = CAUSAL_WAN.schedule(frames, STEPS, chunk, known)
    made, _, _ = sample(model(network, told), noise, schedule, PRESETS["off"], start=start)
    assert torch.equal(made[:, :, :known], start)
    assert (made - by_mask(network, noise, told, "unipc", start)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("settings", SKIPPING)
def test_chunks_decide_for_themselves_and_clean_calls_are_never_skipped(network, settings):
    noise, schedule = random(1, 16, 9, 4, 4), CAUSAL_WAN.schedule(9, 10)
    term = model(network)
    calls = []
    hooks = [block.register_forward_hook(lambda *_: calls.append(1)) for block in network.blocks]
    made, trace, _ = sample(term, noise, schedule, settings)
    for hook in hooks:
        hook.remove()
    full, _, _ = sample(model(network), noise, schedule, PRESETS["off"])
    again, _, _ = sample(model(network), noise, schedule, settings)
    totals = trace.totals
    assert torch.equal(made, again) and not torch.equal(made, full)
    assert totals["computed"] < totals["iterations"] == 30
    assert trace.forwards == pytest.approx(len(calls) / len(network.blocks)) and trace.forwards >= 4
    if settings.acting.depth:
        assert trace.forwards == 2 * (totals["computed"] + 2)
    planned = plan(schedule, settings, change_table(settings.acting.signal, schedule.sigmas, term))
    assert [step["modes"] for step in planned.segments[0].steps] == [s["modes"] for s in trace.segments[0].steps]


def test_what_left_the_window_is_forgotten(network):
    told, seen = Trained(1, 3, 1), []
    term, field = model(network, told), None
    schedule = CAUSAL_WAN.schedule(6, 2, 1)
    make = term.field

    def watched(*args):
        nonlocal field
        field = make(*args)
        return field

    term.field = watched

    def on_step(segment, step, x0, record):
        seen.append(sorted({chunk for cache in field.kept.branches.values() for _, chunk in cache.stored}))

    sample(term, random(1, 16, 6, 4, 4), schedule, PRESETS["off"], on_step=on_step)
    assert seen[::2] == [[], [0], [0, 1], [0, 2], [0, 3], [0, 4]]


def test_keys_and_values_may_wait_in_the_memory_of_the_cpu():
    """As those of other families do; a branch that was never shown a chunk is an error."""
    kept = KeyValues(0)
    kept.write = 0
    kept.extend("cond", 0, torch.ones(1, 2, 4), torch.zeros(1, 2, 4))
    kept.read, kept.write = [0], None
    key, value = kept.extend("cond", 0, torch.zeros(1, 2, 4), torch.ones(1, 2, 4))
    assert key[0, :, 0].tolist() == [1, 1, 0, 0] and value[0, :, 0].tolist() == [0, 0, 1, 1]
    with pytest.raises(KeyError):
        kept.extend("uncond", 0, torch.zeros(1, 2, 4), torch.ones(1, 2, 4))


def test_lengths_and_levels():
    """The published table: 0.999 down, shifted by 5, timesteps cut to whole numbers; videos of whole chunks."""
    schedule = CAUSAL_WAN.schedule(20)
    assert schedule.frames == 21 and len(schedule.segments) == 1 and schedule.iterations == 7 * 50
    assert CAUSAL_WAN.latent_frames(81) == 21 and CAUSAL_WAN.pixel_frames(21) == 81
    even = np.linspace(float(np.float32(0.999)), 0, 51)[:-1]
    assert schedule.sigmas.tolist() == [*(5 * even / (1 + 4 * even)), 0]
    where, exact = CAUSAL_WAN.place(schedule)
    assert exact and where[:2].tolist() == [999, int(1000 * schedule.sigmas[1])]
    with pytest.raises(ScheduleError, match="start has 20 latent frames and the video 20"):
        CAUSAL_WAN.schedule(20, prefix=20)


def test_positions_that_bf16_cannot_hold_are_told():
    assert not CAUSAL_WAN.warnings(CAUSAL_WAN.schedule(255), "auto", "unipc")
    assert "above 256" in CAUSAL_WAN.warnings(CAUSAL_WAN.schedule(258), "auto", "unipc")[0]


def test_what_a_file_tells():
    assert trained("causal_wan chunk 3") == Trained() and trained("causal_wan chunk 1") == Trained(1)
    assert trained("causal_wan chunk 8 window 32 sink 8") == Trained(8, 32, 8)
    assert trained("something else") is None
    with pytest.raises(ScheduleError, match="window is 2 latent frames and a chunk 3"):
        trained("causal_wan chunk 3 window 2")
    with pytest.raises(ScheduleError, match="between 0 and 18"):
        trained("causal_wan chunk 3 sink 19")


@pytest.mark.parametrize(
    "name, few",
    [
        ("ar_diffusion.pt", False),
        ("Causal-Forcing/chunkwise/ar_diffusion.pt", False),
        ("LongLive2-5B-stage1-bf16/model.pt", False),
        ("causal_forcing.pt", True),
        ("causal_forcing-framewise.safetensors", True),
        ("causal_cd.pt", True),
        ("causal_ode.pt", True),
        ("framewise-1step.pt", True),
        ("framewise-2step.pt", True),
        ("longvideo.pt", True),
        ("LongLive-1.3B/models/longlive_base.pt", True),
        ("LongLive-2.0-5B/model_bf16.pt", True),
        ("self_forcing_dmd.pt", True),
        ("wan_causal_50steps.safetensors", False),
    ],
)
def test_distilled_models_are_told_by_their_names(name, few):
    assert bool(few_steps(name)) == few and ("nothing to skip" in few_steps(name)) == few
