"""The training of the demo models: its optimiser is torch's, and both families' losses reach all weights."""

import pytest
import torch
from torch import nn

from scope_core.demo.training import train
from scope_core.demo.training.world import Clips, latent_seconds
from scope_core.networks.demo_vae import DemoVAE
from scope_core.networks.magi import MagiAttention


def test_muon_over_a_stack_is_torchs():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((24, 24), (24, 24), (96, 24), (24, 96))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    before = [p.detach().clone() for p in ours]
    optimizers = (
        train.Muon(ours, lr=0.1, weight_decay=0.01),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q, first in zip(ours, theirs, before):
        assert (p - q).norm() < 0.05 * (q - first).norm()


@pytest.fixture
def over_batches(monkeypatch):
    monkeypatch.setattr(MagiAttention, "over_chunks", train.over_chunks)
    monkeypatch.setattr(MagiAttention, "over_captions", train.over_captions)


def untrained(family):
    """A model no weight of which is zero throughout."""
    torch.manual_seed(0)
    model = train.TRAINEES[family]()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1) if not parameter.any() else None
    return model


def loss_of(model):
    generator = torch.Generator().manual_seed(0)
    frames = model.frames(1, torch.Generator().manual_seed(0))
    clips = Clips.sample(4, generator)
    video = clips.render(64, latent_seconds(int(frames[-1]) + 1)[frames])
    latents = DemoVAE().encoder(video.flatten(0, 1)).unflatten(0, (4, -1)).transpose(1, 2).detach()
    return model.loss(latents, clips.tokens(), frames, torch.Generator().manual_seed(1), generator)


@pytest.mark.usefixtures("over_batches")
@pytest.mark.parametrize("family", train.TRAINEES)
def test_the_loss_reaches_every_weight(family):
    model = untrained(family)
    loss = loss_of(model)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.usefixtures("over_batches")
def test_a_distilled_model_learns_the_guided_velocity_of_its_teacher(monkeypatch):
    teacher = untrained("magi")
    model = train.DistilledTrainee(teacher)
    assert len([*model.parameters()]) == len([*teacher.parameters()]) and loss_of(model) > 0
    monkeypatch.setattr(train, "GUIDANCE", 1.0)
    assert loss_of(model) < 1e-12
    loss_of(train.DistilledTrainee(teacher)).backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_the_encoder_starts_at_principal_components_and_ends_at_unit_scale():
    vae = DemoVAE()
    train.start_linear(vae)
    seen = train.pictures(200, torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = train.scaled(vae).encoder(seen)
        assert torch.equal(vae.encoder(seen), vae.encoder.linear(seen))
        shown = train.preview(vae)
        guess = vae.encoder(seen).movedim(1, 3) @ torch.tensor(shown["factors"]) + torch.tensor(shown["bias"])
    assert abs(latents.square().mean() - 1) < 1e-3 and latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (guess.movedim(3, 1) - nn.functional.avg_pool2d(seen, 8)).std() < 0.05


@pytest.mark.parametrize("joint", [True, False], ids=["encoder", "decoder"])
def test_an_autoencoder_that_goes_on_sees_clips_that_it_has_not_seen(tmp_path, monkeypatch, joint):
    seen = []
    monkeypatch.setattr(train.Clips, "sample", lambda *args, real=Clips.sample: seen.append(real(*args)) or seen[-1])
    monkeypatch.setattr(train.torch, "compile", lambda part: part)
    monkeypatch.setattr(train, "preview", lambda vae: {})
    monkeypatch.setattr(train, "scaled", lambda vae: vae)

    def steps(clock, first, every, save):
        yield from ((step, 0.5) for step in range(first, first + 2))
        save(first + 2)

    monkeypatch.setattr(train.Clock, "steps", steps)
    for _ in range(2):
        train.train_autoencoder(DemoVAE(), joint, 1, 1.0, "cpu", tmp_path / "checkpoint", tmp_path)
    assert len(seen) == 4 == len({clip.tokens().sum().item() + clip.radius.sum().item() for clip in seen})
