"""The demo's world: what captions say is what is drawn, and what the judge of its videos sees."""

import pytest
import torch

from scope_core.demo.shipped import SkyReelsDemo
from scope_core.demo.training.evaluate import from_background, objects_of, without_edge
from scope_core.demo.training.world import RELIEF, Clips, latent_seconds
from scope_core.demo.words import COLOURS, PATTERNS, SHAPES, TOKENS, WORDS, tokenize
from scope_core.settings import PRESETS


@pytest.fixture(scope="module")
def clips():
    return Clips.sample(200, torch.Generator().manual_seed(7))


def told(prompt):
    return [WORDS[token - 1] for token in tokenize(prompt) if token]


def test_prompts_of_one_object_mean_what_they_did():
    assert told("a red circle bouncing on a navy background") == ["red", "circle", "bouncing", "navy"]
    assert told("Red! star; nothing, don't") == ["red", "star"] and told("a letter T") == ["t"]


def test_words_behind_and_are_of_the_second_object():
    prompt = "a red circle bouncing and a blue star orbiting on a striped navy background"
    second = ["and blue", "and star", "and orbiting"]
    assert told(prompt) == ["red", "circle", "bouncing", *second, "striped", "navy"]
    assert len(tokenize(prompt)) == TOKENS and 0 not in tokenize(prompt)


def test_captions_say_what_the_clips_are(clips):
    tokens = clips.tokens()
    for i in range(len(clips)):
        assert sorted(tokenize(clips.caption(i))) == sorted(tokens[i].tolist())
    assert set(tokens.unique().tolist()) == set(range(len(WORDS) + 1))


def test_the_second_object_is_in_front(clips):
    centres = clips.positions(torch.zeros(1))[:, :, 0]
    overlapping = clips.two & ((centres[:, 0] - centres[:, 1]).norm(dim=1) < 0.1)
    overlapping &= clips.objects[:, 1, 0] != SHAPES.index("ring")
    assert overlapping.any()
    front, at = clips[overlapping], (centres[overlapping, 1] * 128).long()
    picture = front.render(128, torch.zeros(1))[:, 0]
    seen = picture[torch.arange(len(front)), :, at[:, 1], at[:, 0]]
    assert torch.allclose(seen, torch.tensor(list(COLOURS.values()))[front.objects[:, 1, 2]], atol=1e-5)


def test_patterns_drift_and_plain_backgrounds_stay(clips):
    waves = clips.pattern(64, latent_seconds(3))
    moved = waves.diff(dim=1).abs().mean((1, 2, 3)) > 0.02
    assert torch.equal(moved, clips.background[:, 1] >= 0)
    for pattern in range(len(PATTERNS)):
        assert 0.2 < waves[clips.background[:, 1] == pattern].mean() < 0.8


def test_the_judge_sees_both_objects_apart_from_the_background(clips):
    frames = clips.render(128, torch.zeros(1))[:, 0]
    distance, _ = from_background(frames, clips)
    _, masks = objects_of(frames, clips)
    assert masks[~clips.two, 1].sum() == 0 and (distance[:, ::127, ::127] < RELIEF).float().mean() > 0.9
    areas = torch.stack([masks[:, 0], without_edge(masks[:, 1], 3)], 1).mean((2, 3))
    assert (areas[:, 0] > 0.015).all() and (areas[clips.two, 1] > 0.003).all()


def test_the_shipped_model_draws_both_objects_on_the_pattern():
    demo = SkyReelsDemo()
    prompt = "a red circle bouncing and a white square orbiting on a striped navy background"
    schedule = demo.schedules(16)["synchronous"]
    latents = demo.sample(torch.tensor([tokenize(prompt)]), schedule, PRESETS["off"], seed=5).latents
    frames = demo.decode(latents)[0, :, ::4].transpose(0, 1)
    red, white = (
        ((frames - torch.tensor(COLOURS[colour])[:, None, None]).norm(dim=1) < 0.2).float().mean((1, 2))
        for colour in ("red", "white")
    )
    assert (red > 0.02).float().mean() > 0.9 and (white > 0.003).float().mean() > 0.7
    rows = frames[:, :, :, ::127].mean((1, 3))
    assert rows.std(1).mean() > 0.04 and rows.diff(dim=0).abs().mean() > 0.01
