"""The library without a host: its documented surface, examples that run, and somebody else's network."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel

import scope_core
from scope_core import MAGI, PRESETS, SKYREELS, ScheduleError, plan, sample
from scope_core.demo.shipped import signals_of
from scope_core.families.magi import Reach
from scope_core.families.skyreels import Guided, Term
from scope_core.networks.skyreels_keys import to_official
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.settings import CALIBRATED, read
from scope_core.signals import change_table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [n for n in scope_core.__all__ if not n.isupper()])
def test_the_surface_is_documented(name):
    documented = inspect.getdoc(getattr(scope_core, name))
    assert documented and len(documented) > 60, f"{name} needs a docstring"
    module = sys.modules[getattr(scope_core, name).__module__]
    assert module.__doc__, module.__name__


def test_examples_run():
    found = {module for name, module in sys.modules.items() if name.startswith("scope_core")}
    results = [doctest.testmod(module) for module in found]
    assert sum(result.attempted for result in results) >= 12 and not sum(result.failed for result in results)


def test_the_page_s_examples_run(capsys):
    """One after the other, as they are read."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)
    known: dict = {}
    for code in examples:
        exec(compile(code, "docs/library.md", "exec"), known)
    assert len(examples) == 4 and known["settings"].method.expected == 42 and known["rival"].correct
    assert (known["own"].correct, known["plain"].correct) == (True, False)


def test_nothing_of_a_host_is_imported():
    assert not {"comfy", "nodes", "folder_paths", "server"} & sys.modules.keys()


def test_versions_are_one():
    assert f'\nversion = "{scope_core.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"## {scope_core.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("cfg", [1.0, 0.5, 0.0])
def test_guidance_of_1_and_below_is_none(cfg):
    """As in the release and in diffusers: the negative prompt is not asked."""
    torch.manual_seed(0)
    net = WanTransformer(WanConfig(dim=32, ffn_dim=48, num_heads=2, num_layers=1, text_dim=8)).requires_grad_(False)
    positive, negative = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    noise, schedule = torch.randn(1, 16, 3, 4, 4), SKYREELS.schedule(3, 5)
    made, trace, _ = sample(Guided(net, positive, negative, cfg), noise, schedule, PRESETS["off"])
    assert torch.equal(made, sample(Guided(net, positive), noise, schedule, PRESETS["off"])[0]) and trace.forwards == 5


class Diffusers:
    """A diffusers transformer as the library calls a network."""

    def __init__(self, transformer):
        self.transformer, self.blocks = transformer, transformer.blocks
        self.embedder = transformer.condition_embedder

    def __call__(self, x, t, context, mask, around):
        assert mask is None and around is None
        return self.transformer(x, t, context, enable_diffusion_forcing=True, return_dict=False)[0]

    def time_embed(self, t):
        return self.embedder.time_embedder(self.embedder.timesteps_proj(t).float())

    def time_projection(self, e):
        return self.embedder.time_proj(self.embedder.act_fn(e))


def test_a_diffusers_transformer_is_accelerated():
    """Sampled from diffusers' own network, and from ours with the same weights: the same decisions, the same video."""
    torch.manual_seed(0)
    theirs = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=8,
        freq_dim=16,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=False,
    ).eval()
    ours = WanTransformer(WanConfig(24, 64, 2, 2, text_dim=8, freq_dim=16)).eval()
    ours.load_state_dict(to_official(theirs.state_dict()))
    positive, negative, noise = torch.randn(1, 4, 8), torch.randn(1, 4, 8), torch.randn(1, 16, 6, 4, 4)
    schedule = SKYREELS.schedule(6, steps=12, block=2, ar_step=2)
    runs = [
        sample(Guided(net, positive, negative, 5.0), noise, schedule, PRESETS["fast"])
        for net in (Diffusers(theirs), ours)
    ]
    made = [[step["modes"] for step in run.trace.to_json()["segments"][0]["steps"]] for run in runs]
    assert made[0] == made[1] and runs[0].trace.totals["computed"] < runs[0].trace.totals["iterations"]
    assert runs[0].trace.forwards == runs[1].trace.forwards
    assert (runs[0].latents - runs[1].latents).abs().max() <= 2e-5


def test_a_network_without_features_is_answered():
    class Bare(Term):
        layers = 2

        def velocity(self, x, timestep, attended, around):
            return x

    schedule = SKYREELS.schedule(4, steps=6)
    with pytest.raises(ValueError, match="does not answer for the signal 'modulation'; choose one that looks at sigma"):
        sample(Bare(), torch.zeros(1, 16, 4, 4, 4), schedule, PRESETS["paper_fast"])
    for preset, computed in (("off", 6), ("balanced", 2)):
        made = sample(Bare(), torch.ones(1, 16, 4, 4, 4), schedule, PRESETS[preset])
        assert made.trace.totals["computed"] == computed


NOISE = torch.zeros(1, 16, 4, 4, 4)
GIVEN = {"noise": NOISE, "start": NOISE[:, :, :2], "solver": None}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"noise": NOISE[:, :, :3]}, "noise has shape .1, 16, 3, 4, 4.*4 frames"),
        ({"noise": NOISE[0]}, "noise has shape .16, 4, 4, 4.; it has to be"),
        ({"noise": NOISE + float("nan")}, "noise holds NaN.*give"),
        ({"start": None}, "start is missing; give the 2 latent frames"),
        ({"start": NOISE[:, :, :1]}, "start has shape .1, 16, 1, 4, 4.*2 frames"),
        ({"start": NOISE[:, :3]}, "start has shape .1, 3, 4, 4, 4.*the same as the noise"),
        ({"start": NOISE / 0}, "start holds NaN"),
        ({"end": NOISE[:, :, :, :2]}, "end has shape"),
        ({"noise": NOISE[:, :3], "start": NOISE[:, :3]}, "latents have shape .*takes .batch, 16 channels"),
        ({"noise": NOISE[..., :3], "start": NOISE[..., :3]}, "latents have shape .*even height and width"),
        ({"solver": "heun"}, "solver is 'heun'; choose one of unipc, euler"),
    ],
)
def test_inputs_of_other_shapes_are_answered(change, words):
    torch.manual_seed(0)
    network = WanTransformer(WanConfig(24, 64, 2, 2, text_dim=8, freq_dim=16)).eval()
    given = GIVEN | change
    with pytest.raises(ValueError, match=words):
        sample(Guided(network, torch.randn(1, 4, 8)), given.pop("noise"), SKYREELS.schedule(4, 6, prefix=2), **given)


def test_unknown_tables_options_and_reaches_are_answered():
    with pytest.raises(ScheduleError, match="'nonsense' is unknown; use 'magi 8,16,16' or"):
        MAGI.schedule(6, 4, table="nonsense", levels=(1.0, 0.7, 0.5, 0.3, 0.0))
    with pytest.raises(ValueError, match="predictor is 'nonsense'; choose one of hold, taylor1"):
        read("scope", {"predictor": "nonsense"})
    for reach in ((0, 1), 1), ((2, 1), 0):
        with pytest.raises(ScheduleError, match="the reach is.*use 1 or more"):
            Reach(*reach)


@pytest.mark.parametrize("reach", [Reach(), Reach((1,), 2), Reach((2, 1), 4), Reach((3, 1), -1), Reach(())])
def test_a_chunk_shown_clean_finds_all_that_it_looks_back_to(reach):
    assert all(reach.first_needed(chunk) <= reach.of_clean(chunk)[0] for chunk in range(12))


@pytest.mark.parametrize("schedule", [SKYREELS.schedule(4, 4), MAGI.schedule(6, 6, 1, reach=Reach(()))])
def test_a_demo_is_planned_at_any_number_of_steps(schedule):
    """Four steps are fewer than the lag of its usual schedule, six no multiple of its usual window."""
    table = change_table("modulation", schedule.sigmas, signals_of(schedule))
    assert plan(schedule, CALIBRATED, table).totals["iterations"] == schedule.steps
