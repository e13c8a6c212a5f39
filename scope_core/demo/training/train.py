"""Train the demo models from nothing: `python -m scope_core.demo.training.train STAGE --work FOLDER --minutes N`.

Five stages, the encoder first: `encoder` makes the autoencoder, `decoder` goes on with its decoder alone, `skyreels`
and `magi` train the transformers on its latents; these three may run side by side. `distil` comes after `magi` and
teaches its model to say in one branch what it says with guidance. Each is bounded by the clock, resumes from its
checkpoint in the work folder and writes its weights as it goes. Runs on a CPU or a GPU. Recipe and findings:
docs/demo.md.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...families.magi import CHUNK, CLEAN, MAGI, times
from ...families.skyreels import SKYREELS
from ...networks.demo_vae import CHANNELS, DemoVAE
from ...networks.magi import MagiAttention, MagiConfig, MagiTransformer
from ...networks.wan import WanAttention, WanTransformer
from .. import WEIGHTS
from ..shipped import CHUNKS, CONFIG, NULL_TOKENS, SIZE, TEXT, TEXT_DIM, TRANSFORMERS, VAE
from ..words import FPS, FRAMES_PER_LATENT, TOKENS, WINDOW, WORDS
from .world import Clips, latent_seconds

MAGI_CONFIG = MagiConfig(
    layers=6, hidden=192, ffn=768, heads=8, head_dim=24, cond=48, caption_dim=TEXT_DIM, caption_length=64
)
SHIFT = 2.0
DROPPED = 0.1
"""Share of clips trained without their caption."""
GUIDANCE = 2.5
"""That the distilled model learns."""


def word_vectors() -> Tensor:
    """What the words are to the networks: [words + 1, TEXT_DIM], orthogonal and of unit variance, 0 for the pad. They
    are not trained, so the transformers can train side by side."""
    vectors = torch.empty(len(WORDS), TEXT_DIM)
    nn.init.orthogonal_(vectors, TEXT_DIM**0.5, generator=torch.Generator().manual_seed(0))
    return F.pad(vectors, (0, 0, 1, 0))


class Clock:
    """How far a stage of so many minutes is, earlier runs of it included."""

    def __init__(self, minutes: float):
        self.seconds, self.before, self.begun = 60 * minutes, 0.0, time.time()

    @property
    def spent(self) -> float:
        return self.before + time.time() - self.begun

    def steps(self, first: int, every: float, save: Callable[[int], None]) -> Iterator[tuple[int, float]]:
        """Steps and the progress in [0, 1] at each, until the time is up. `save` is called every so many seconds and at
        the end."""
        step, saved = first, time.time()
        while (progress := self.spent / self.seconds) < 1:
            yield step, progress
            step += 1
            if time.time() - saved > every:
                save(step)
                saved = time.time()
        save(step)


class Muon(torch.optim.Optimizer):
    """Muon with the update's size matched to AdamW's, over a stack of equally large matrices a group: torch's own takes
    them one by one, which leaves a GPU waiting. Source: Jordan et al. 2024, Liu et al. 2025 (arXiv 2502.16982)."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float):
        shapes = dict.fromkeys(p.shape for p in matrices)
        groups = [{"params": [p for p in matrices if p.shape == shape]} for shape in shapes]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = group["params"]
            gradient = torch.stack([p.grad for p in weights])
            state = self.state[weights[0]]
            momentum = state.setdefault("momentum", torch.zeros_like(gradient))
            momentum.lerp_(gradient, 0.05)
            update = orthogonal(gradient.lerp(momentum, 0.95))
            size = group["lr"] * 0.2 * max(update.shape[1:]) ** 0.5
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, [*update.float()], alpha=-size)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices [n, rows, columns] with singular values near 1, by five Newton-Schulz steps in bf16."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


def average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_([p.data for p in ema.parameters()], [p.data for p in model.parameters()], 1 - decay)


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in state.items()}


def pictures(clips: int, generator: torch.Generator) -> Tensor:
    """Frames as the encoder sees them: [3 * clips, 3, 64, 64]."""
    seconds = latent_seconds(WINDOW)[torch.tensor([0, 7, 13])]
    return Clips.sample(clips, generator).render(SIZE // 2, seconds).flatten(0, 1) * 2 - 1


@torch.no_grad()
def start_linear(vae: DemoVAE) -> None:
    """Let the encoder begin as the leading principal components of 8x8 blocks, each scaled by std^0.75."""
    blocks = F.unfold(pictures(200, torch.Generator().manual_seed(0)), 8, stride=8).transpose(1, 2).flatten(0, 1)
    _, scale, axes = torch.linalg.svd(torch.cov(blocks.T))
    axes = axes[:CHANNELS] / scale[:CHANNELS, None] ** 0.125
    weight, bias = vae.encoder.linear.parameters()
    weight.copy_(axes.reshape(CHANNELS, 3, 8, 8))
    for parameter in (bias, *vae.encoder.network[-1].parameters()):
        parameter.zero_()


def unit_scale(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each channel of latents [B, 16, h, w] and, of what is left without it, one scale."""
    mean = latents.mean((0, 2, 3))
    return mean, (latents - mean[:, None, None]).square().mean().sqrt()


@torch.no_grad()
def scaled(vae: DemoVAE) -> DemoVAE:
    """A copy whose latents have mean 0 in each channel and unit scale over all."""
    vae = copy.deepcopy(vae)
    weight, bias = vae.encoder.linear.parameters()
    mean, scale = unit_scale(vae.encoder(pictures(200, torch.Generator(weight.device).manual_seed(0))))
    bias.sub_(mean)
    for parameter in (weight, bias, *vae.encoder.network[-1].parameters()):
        parameter.div_(scale)
    return vae


@torch.no_grad()
def preview(vae: DemoVAE) -> dict[str, list]:
    """The linear map from a latent to the mean colour of its block that fits best: `factors` [16][3], `bias` [3]."""
    seen = pictures(200, torch.Generator(vae.encoder.linear.weight.device).manual_seed(0))
    latents, colours = (x.transpose(0, 1).flatten(1).T.float() for x in (vae.encoder(seen), F.avg_pool2d(seen, 8)))
    solved = torch.linalg.lstsq(F.pad(latents, (0, 1), value=1), colours).solution
    return {"factors": solved[:-1].tolist(), "bias": solved[-1].tolist()}


def train_autoencoder(
    vae: DemoVAE, joint: bool, clips: int, minutes: float, device: str, checkpoint: Path, out: Path
) -> None:
    """Fit the decoder to latents with noise of 0 to 0.15, so that imperfect samples decode well too; `joint`, the
    encoder with it, its latents kept at unit scale. One step in eight shows stills."""
    vae = vae.to(device).to(memory_format=torch.channels_last)
    ema = copy.deepcopy(vae)
    trained = vae if joint else vae.decoder
    optimizer = torch.optim.AdamW(trained.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    clock, first = Clock(minutes), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        first, clock.before = state["step"], state["spent"]
        vae.load_state_dict(state["vae"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
    encode, decode = torch.compile(vae.encoder), torch.compile(vae.decoder)
    offsets = torch.arange(-FRAMES_PER_LATENT, 1) / FPS
    errors: list[Tensor] = []

    def save(step: int) -> None:
        state = {"vae": vae.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"step": step, "spent": clock.spent}, checkpoint)
        finished = scaled(ema) if joint else ema
        save_file(half(finished.state_dict()), out / VAE, {"preview": json.dumps(preview(finished))})

    for step, progress in clock.steps(first, 60, save):
        generator = torch.Generator(device).manual_seed(2 * step + joint)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * max(0.02, 1 - progress)
        moment = torch.rand((), generator=torch.Generator().manual_seed(step)) * 2.4 + FRAMES_PER_LATENT / FPS
        with torch.no_grad():
            video = Clips.sample(clips, generator).render(SIZE, moment + offsets) * 2 - 1
            if step % 8 == 0:
                video = video[:, -1:].expand(-1, FRAMES_PER_LATENT + 1, -1, -1, -1)
            target = video[:, 1:].flatten(1, 2)
            ends = F.avg_pool2d(video[:, ::FRAMES_PER_LATENT].flatten(0, 1), 2)
        with torch.autocast(device, torch.bfloat16), torch.set_grad_enabled(joint):
            latents = encode(ends.contiguous(memory_format=torch.channels_last)).float()
        if joint:
            mean, scale = unit_scale(latents)
            latents = (latents - mean[:, None, None]) / scale
        noise = torch.rand(clips, 1, 1, 1, generator=generator, device=device).repeat_interleave(2, 0) * 0.15
        latents = latents + noise * torch.randn(latents.shape, generator=generator, device=device)
        pairs = latents.unflatten(0, (-1, 2)).flatten(1, 2)
        with torch.autocast(device, torch.bfloat16):
            painted = decode(pairs.contiguous(memory_format=torch.channels_last)).float()
        loss = F.mse_loss(painted, target) + 0.1 * F.l1_loss(painted, target)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average(ema, vae, min(0.998, (step + 1) / (step + 10)))
        errors.append(F.mse_loss(painted.detach(), target) / 4)
        if len(errors) == 50:
            psnr = -10 * torch.stack(errors).mean().log10().item()
            print(f"autoencoder {step + 1} steps, {clock.spent / 60:.1f} min, PSNR {psnr:.1f} dB", flush=True)
            errors.clear()


def noise_levels(n: int, generator: torch.Generator) -> Tensor:
    """Per-frame noise levels [n, WINDOW] of diffusion forcing: 35 % independent, 40 % staircase, 25 % synchronous,
    a clean prefix on half of the rows that are no staircase."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    kind = uniform(n, 1)
    size = 2 ** torch.randint(3, (n, 1), generator=generator, device=device)
    frame = torch.arange(WINDOW, device=device)[None]
    block = frame // size
    slope = uniform(n, 1) * 0.3 * size / 2
    height = (WINDOW // size) * slope
    u = torch.where(kind < 0.35, uniform(n, WINDOW), uniform(n, 1).expand(n, WINDOW))
    staircase = (uniform(n, 1) * (1 + height) - height + slope * block).clamp(0, 1)
    u = torch.where(kind < 0.75, torch.where(kind < 0.35, u, staircase), u)
    prefix = torch.randint(1, WINDOW // 2 + 1, (n, 1), generator=generator, device=device)
    clean = (frame < prefix) & (uniform(n, 1) < 0.5) & ((kind < 0.35) | (kind >= 0.75))
    u = u.masked_fill(clean, 0)
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def attention_mask(generator: torch.Generator) -> Tensor:
    """All frames see all frames, or, for 30 % of batches, each block sees itself and what lies before it."""
    block = torch.arange(WINDOW) // 2 ** torch.randint(3, (), generator=generator)
    causal = block[:, None] >= block[None]
    return causal if torch.rand((), generator=generator) < 0.3 else torch.ones_like(causal)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Attention as two plain products: on a CPU its backward pass in bf16 is faster than the fused one."""
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -1e9)
    return scores.softmax(-1).to(v.dtype) @ v


class SkyReelsTrainee(nn.Module):
    """A transformer of the SkyReels-V2 family and the words it reads."""

    file = TRANSFORMERS[SKYREELS.name]
    longest = WINDOW
    """Latent frames of the longest clips."""
    rate = 1.0
    """Of the usual learning rates."""
    metadata: ClassVar = {"transformer": {"num_heads": CONFIG.num_heads, "text_dim": CONFIG.text_dim}}
    words: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("words", word_vectors())
        self.transformer = WanTransformer(CONFIG)

    def compile_parts(self, device: str) -> None:
        if device == "cpu":
            WanAttention.attend = staticmethod(softmax_attention)
        for block in self.transformer.blocks:
            block.compile(dynamic=False)

    def frames(self, progress: float, choice: torch.Generator) -> Tensor:
        """Latent frames [F] of the video that a step at `progress` in [0, 1] trains on."""
        return torch.arange(WINDOW)

    def loss(
        self, x0: Tensor, tokens: Tensor, frames: Tensor, choice: torch.Generator, generator: torch.Generator
    ) -> Tensor:
        """Error of the velocity of latents x0 [B, 16, F, 8, 8], at noise levels drawn from `generator`, on the device
        of x0; `choice` is on the CPU and decides for the whole batch."""
        device = x0.device
        sigma = noise_levels(len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        level = sigma[:, None, :, None, None]
        dropped = torch.rand(len(x0), 1, generator=generator, device=device) < DROPPED
        context = self.words[tokens.masked_fill(dropped, 0)]
        mask = attention_mask(choice).to(device)
        v = self.transformer((1 - level) * x0 + level * noise, 1000 * sigma, context, mask)
        return velocity_error(v, noise - x0, level > 0)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return (F.scaled_dot_product_attention if q.is_cuda else softmax_attention)(q, k, v, attn_mask=mask)


def velocity_error(v: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error [] of v [B, C, F, H, W] where `counted` [B, 1, F, 1, 1]."""
    error = (v.float() - target).square() * counted
    return error.sum() / (counted.expand_as(error).sum() + 1)


STEPS = 64


class Batch(NamedTuple):
    """What a MAGI block reads of its call when every clip of a batch has chunk ranges and a caption of its own."""

    angles: Tensor
    condition: Tensor
    caption: Tensor
    """[NULL_TOKENS + B * TOKENS, hidden]: the null caption once, then that of every clip."""
    sees: Tensor
    """[B, r, r]: which chunks a chunk attends to."""
    reads: Tensor
    """[B, r, NULL_TOKENS + TOKENS]: which tokens of both captions a chunk reads."""


def over_chunks(self: MagiAttention, q: Tensor, k: Tensor, v: Tensor, layer: int, batch: Batch) -> Tensor:
    tokens = q.shape[1] // batch.sees.shape[1]
    q, k, v = (x.unflatten(2, (-1, self.head_dim)).transpose(1, 2) for x in (q, k, v))
    outputs = []
    for j, query in enumerate(q.split(tokens, 2)):
        end = (j + 1) * tokens
        sees = batch.sees[:, j, : j + 1].repeat_interleave(tokens, 1)[:, None, None]
        outputs.append(masked_attention(query, k[:, :, :end], v[:, :, :end], sees.expand(-1, -1, tokens, -1)))
    return torch.cat(outputs, 2).transpose(1, 2).flatten(2)


def over_captions(self: MagiAttention, q: Tensor, batch: Batch) -> Tensor:
    clips, length = q.shape[:2]
    keys, values = self.linear_kv_xattn(batch.caption).unflatten(1, (self.groups, 2, self.head_dim)).unbind(2)
    keys = self.k_layernorm_xattn(keys)
    keys, values = (
        torch.cat([x[:NULL_TOKENS].expand(clips, -1, -1, -1), x[NULL_TOKENS:].unflatten(0, (clips, -1))], 1).transpose(
            1, 2
        )
        for x in (keys, values)
    )
    reads = batch.reads.repeat_interleave(length // batch.reads.shape[1], 1)[:, None]
    return (
        masked_attention(q.unflatten(2, (-1, self.head_dim)).transpose(1, 2), keys, values, reads)
        .transpose(1, 2)
        .flatten(2)
    )


def chunk_steps(n: int, chunks: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Steps done [n, r] by each of `chunks` [r], `steps` being clean, and which chunks are alone.

    60 % are MAGI's own staircase at a random moment, where a chunk that has not entered the window yet is trained
    alone; 20 % are independent and 20 % synchronous.
    """

    device = generator.device

    def integers(end: int, *shape: int) -> Tensor:
        return torch.randint(end, shape, generator=generator, device=device)

    stage, last, chunks = steps // CHUNKS, int(chunks[-1]), chunks.to(device)
    kind = torch.rand(n, 1, generator=generator, device=device)
    independent = integers(steps, n, len(chunks))
    staircase = (integers(last + CHUNKS, n, 1) - chunks) * stage + integers(stage, n, 1)
    waits = (kind < 0.6) & (staircase < 0)
    done = torch.where(
        (kind < 0.6) & ~waits, staircase.clamp(max=steps), torch.where(kind < 0.8, independent, independent[:, :1])
    )
    return done, waits | (torch.rand(done.shape, generator=generator, device=device) < 0.03)


class MagiTrainee(nn.Module):
    """A transformer of the distilled MAGI-1 kind (one branch, told the step size) and the words it reads."""

    file = TRANSFORMERS[MAGI.name]
    longest = CHUNKS * CHUNK
    rate = 1.0
    metadata: ClassVar = {
        "transformer": {"chunk_frames": CHUNK},
        "distilled": True,
        "num_steps": STEPS,
        "window_size": CHUNKS,
    }
    words: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("words", word_vectors())
        self.transformer = MagiTransformer(MAGI_CONFIG)
        for name, parameter in self.transformer.named_parameters():
            if ("norm" in name and name.endswith("bias")) or "layernorm" in name or "final_linear" in name:
                nn.init.zeros_(parameter)
            if "post_norm.weight" in name:
                nn.init.constant_(parameter, -0.75)
            if "ada_modulate" in name:
                nn.init.ones_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.02)
        nn.init.normal_(self.transformer.y_embedder.null_caption_embedding)
        self.transformer.rope.bands.data = 10 ** (-torch.arange(len(self.transformer.rope.bands)) / 2)

    def compile_parts(self, device: str) -> None:
        # A Batch takes the place of the Call that the methods know.
        MagiAttention.over_chunks = over_chunks  # type: ignore[method-assign, assignment]
        MagiAttention.over_captions = over_captions  # type: ignore[method-assign, assignment]
        for block in self.transformer.blocks:
            block.compile(dynamic=False)

    def frames(self, progress: float, choice: torch.Generator) -> Tensor:
        """Latent frames [F] of the video that a step at `progress` in [0, 1] trains on: whole chunks, two of them at
        first and then four, half of the time with gaps, so that a chunk meets all that a window and a clean chunk
        before it hold."""
        count, gaps = 2 if progress < 0.5 else CHUNKS, torch.rand((), generator=choice) < 0.5
        chunks = torch.randperm(CHUNKS + 1, generator=choice)[:count].sort()[0] if gaps else torch.arange(count)
        return (chunks[:, None] * CHUNK + torch.arange(CHUNK)).flatten()

    def loss(
        self, x0: Tensor, tokens: Tensor, frames: Tensor, choice: torch.Generator, generator: torch.Generator
    ) -> Tensor:
        """Error of the velocity of latents x0 [B, 16, F, 8, 8], at times drawn from `generator`, on the device of x0;
        `choice` is on the CPU and decides for the whole batch."""
        device, n, chunks = x0.device, len(x0), frames[::CHUNK] // CHUNK

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        steps = STEPS // 2 ** int(torch.randint(4, (), generator=choice))
        done, alone = chunk_steps(n, chunks, steps, generator)
        clean = done == steps
        reach = torch.where(uniform(n, 1) < 0.4, torch.where(clean, 1, 5 - 4 * done // steps), 99)
        distance = (chunks[:, None] - chunks).to(device)
        sees = (distance >= 0) & (distance < reach[..., None]) & (~alone[..., None] | (distance == 0))
        null = (clean | (uniform(n, 1) < DROPPED))[..., None]
        reads = torch.cat([null.expand(-1, -1, NULL_TOKENS), ~null & (tokens > 0)[:, None]], 2)
        known = torch.randint(1, 4, (n, 1), generator=generator, device=device) * (uniform(n, 1) < 0.1)
        first = clean.cumprod(1).sum(1, keepdim=True) == torch.arange(len(chunks), device=device)
        given = (torch.arange(CHUNK, device=device) < known[..., None]) & first[..., None]
        noise = torch.randn(x0.shape, generator=generator, device=device)
        table = torch.from_numpy(times(steps, MAGI.tables[0], MAGI.defaults.shift)).float().to(device)
        t = table[done].masked_fill(clean, CLEAN)
        given, level = given.flatten(1)[:, None, :, None, None], t.repeat_interleave(CHUNK, 1)[:, None, :, None, None]
        x = torch.where(given, x0, (1 - level) * noise + level * x0)
        shown = partial(self, x, t, tokens, chunks.tolist(), steps, sees)
        return velocity_error(shown(reads), self.target(x0 - noise, shown, reads), (level < CLEAN) & ~given)

    def target(self, velocity: Tensor, shown: partial, reads: Tensor) -> Tensor:
        """What is learned where the data says `velocity` [B, 16, F, 8, 8]. `shown(reads)` is the velocity that this
        model says."""
        return velocity

    def forward(
        self, x: Tensor, t: Tensor, tokens: Tensor, chunks: list[int], steps: int, sees: Tensor, reads: Tensor
    ) -> Tensor:
        def around(i: int, hidden: Tensor, block: partial) -> Tensor:
            call = block.keywords["call"]
            return self.transformer.blocks[i](hidden, 0, Batch(call.angles, call.condition, call.caption, sees, reads))

        nothing = self.transformer.y_embedder.null_caption_embedding[:NULL_TOKENS]
        captions = torch.cat([nothing, self.words[tokens].flatten(0, 1)])[None, None]
        mask = torch.ones(captions.shape[:3], dtype=torch.bool, device=x.device)
        return self.transformer(x, t, chunks, (), captions, mask, dt=steps / 2, around=around)


class DistilledTrainee(MagiTrainee):
    """Learns, from where its teacher stands, what that says with guidance. Source: Meng et al. 2023 (arXiv 2210.03142),
    with one guidance for all."""

    rate = 0.2

    def __init__(self, teacher: MagiTrainee) -> None:
        super().__init__()
        self.load_state_dict(teacher.state_dict())
        self.teachers = [teacher.requires_grad_(False)]
        """In a list, so that it is no part of what is trained."""

    def compile_parts(self, device: str) -> None:
        super().compile_parts(device)
        self.teachers[0].to(device).compile_parts(device)

    def frames(self, progress: float, choice: torch.Generator) -> Tensor:
        return super().frames(1.0, choice)

    @torch.no_grad()
    def target(self, velocity: Tensor, shown: partial, reads: Tensor) -> Tensor:
        teacher = partial(self.teachers[0], *shown.args)
        nothing = (torch.arange(reads.shape[2], device=reads.device) < NULL_TOKENS).expand_as(reads)
        told, untold = teacher(reads), teacher(nothing)
        return untold + GUIDANCE * (told - untold)


Trainee = SkyReelsTrainee | MagiTrainee
TRAINEES: dict[str, type[Trainee]] = {SKYREELS.name: SkyReelsTrainee, MAGI.name: MagiTrainee}


def train_transformer(
    model: Trainee, vae: DemoVAE, clips: int, minutes: float, device: str, checkpoint: Path, out: Path
) -> None:
    """Flow matching with a noise level per frame. `clips` of the longest kind make a batch."""
    model, vae = model.to(device), vae.to(device).to(memory_format=torch.channels_last)
    encode = torch.compile(vae.encoder)
    ema = copy.deepcopy(model)
    matrices = [p for block in model.transformer.blocks for p in block.parameters() if p.ndim == 2]
    trained = list(model.parameters())
    others = [p for p in trained if not any(p is q for q in matrices)]
    optimizers = [
        Muon(matrices, lr=2e-3, weight_decay=0.01),
        torch.optim.AdamW(others, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    peaks = [model.rate * group["lr"] for o in optimizers for group in o.param_groups]
    clock, first, seen = Clock(minutes), 0, 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        first, seen, clock.before = state["step"], state["clips"], state["spent"]
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
    model.compile_parts(device)
    losses: list[Tensor] = []

    def save(step: int) -> None:
        state = {
            "model": model.state_dict(),
            "ema": ema.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
        }
        torch.save(state | {"step": step, "clips": seen, "spent": clock.spent}, checkpoint)
        file = out / model.file
        save_file(half(ema.transformer.state_dict()), file, {"config": json.dumps(model.metadata)})

    for step, progress in clock.steps(first, 60, save):
        choice, generator = torch.Generator().manual_seed(step), torch.Generator(device).manual_seed(1_000_003 + step)
        scale = min(1, (step + 1) / 80) * 0.5 * (1 + cos(pi * progress)) + 0.005
        for group, peak in zip((g for o in optimizers for g in o.param_groups), peaks):
            group["lr"] = peak * scale
        frames = model.frames(progress, choice)
        batch = Clips.sample(clips * model.longest // len(frames), generator)
        with torch.autocast(device, torch.bfloat16):
            with torch.no_grad():
                video = batch.render(SIZE // 2, latent_seconds(int(frames[-1]) + 1)[frames]) * 2 - 1
                shown = video.flatten(0, 1).contiguous(memory_format=torch.channels_last)
                x0 = encode(shown).float().unflatten(0, (-1, len(frames))).transpose(1, 2)
            loss = model.loss(x0, batch.tokens(), frames, choice, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        seen += len(batch)
        average(ema, model, min(0.9995, (step + 1) / (step + 10)))
        losses.append(loss.detach())
        if len(losses) == 50:
            told = f"{step + 1} steps, {seen} clips, {clock.spent / 60:.1f} min"
            print(f"transformer {told}, loss {torch.stack(losses).mean().item():.4f}", flush=True)
            losses.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("encoder", "decoder", *TRAINEES, "distil"))
    parser.add_argument("--minutes", type=float, required=True, help="of training, earlier calls included")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for checkpoints; a later call goes on from them"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder the weights are written to")
    parser.add_argument("--batch", type=int, default=16, help="clips of a step; 128 suits a large GPU")
    args = parser.parse_args()
    for folder in (args.work, args.out):
        folder.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    vae = DemoVAE()
    if args.stage == "encoder":
        start_linear(vae)
    else:
        vae.load_state_dict({key: value.float() for key, value in load_file(args.out / VAE).items()})
    bounds = args.batch, args.minutes, device, args.work / f"{args.stage}.pt", args.out
    if args.stage in TRAINEES:
        train_transformer(TRAINEES[args.stage](), vae, *bounds)
        return
    if args.stage == "distil":
        teacher = MagiTrainee()
        teacher.load_state_dict(torch.load(args.work / f"{MAGI.name}.pt", weights_only=True)["ema"])
        train_transformer(DistilledTrainee(teacher), vae, *bounds)
        return
    words = {"words": json.dumps(WORDS), "tokens": str(TOKENS)}
    save_file(half({"weight": word_vectors()}), args.out / TEXT, words)
    train_autoencoder(vae, args.stage == "encoder", *bounds)


if __name__ == "__main__":
    main()
