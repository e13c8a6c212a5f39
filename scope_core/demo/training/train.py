"""Train the demo models from nothing: `python -m scope_core.demo.training.train --work FOLDER`, then the same with
`--family magi`.

Three stages, each resumed from its checkpoint in the work folder: the autoencoder's fixed encoder (principal
components), its decoder, and the diffusion-forcing transformer with its word embeddings. The MAGI-1-shaped model shares
autoencoder and word embeddings with the SkyReels-V2-shaped one, so it trains the transformer alone. Runs on a CPU or a
GPU; `torchrun --nproc-per-node 2 -m scope_core.demo.training.train ...` uses two processes. Recipe and findings:
docs/demo.md.
"""

import argparse
import copy
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...families.magi import CHUNK, CLEAN, MAGI, times
from ...families.skyreels import SKYREELS
from ...networks.demo_vae import DemoVAE
from ...networks.magi import MagiAttention, MagiConfig, MagiTransformer
from ...networks.wan import WanAttention, WanTransformer
from .. import WEIGHTS
from ..shipped import CHUNKS, CONFIG, NULL_TOKENS, SIZE, TEXT, TEXT_DIM, TRANSFORMERS, VAE
from ..words import FPS, FRAMES_PER_LATENT, TOKENS, WINDOW, WORDS
from .world import Clips, latent_seconds

MAGI_CONFIG = MagiConfig(
    layers=6, hidden=192, ffn=768, heads=8, head_dim=24, cond=48, caption_dim=TEXT_DIM, caption_length=64
)
BATCH = 16
SHIFT = 2.0
DROPPED = 0.1
"""Share of clips trained without their caption."""


def fit_encoder(vae: DemoVAE, clips: int = 600) -> None:
    """Set the encoder to the leading principal components of 8x8 blocks, each scaled by std^0.75, then to unit scale
    overall."""
    generator = torch.Generator().manual_seed(0)
    seconds = latent_seconds(WINDOW)[torch.tensor([0, 7, 13])]
    frames = Clips.sample(clips, generator).render(SIZE // 2, seconds).flatten(0, 1) * 2 - 1
    blocks = F.unfold(frames, 8, stride=8).transpose(1, 2).flatten(0, 1)
    mean = blocks.mean(0)
    _, scale, axes = torch.linalg.svd(torch.cov((blocks - mean).T))
    std = scale[:16].sqrt()
    axes = axes[:16] / std[:, None] ** 0.25
    axes = axes / ((blocks - mean) @ axes.T).std()
    weight, bias = vae.encoder.parameters()
    weight.data = axes.reshape(16, 3, 8, 8).contiguous()
    bias.data = -(axes @ mean)


def train_decoder(vae: DemoVAE, minutes: float, device: str, checkpoint: Path) -> None:
    """Fit the decoder on latents with noise of 0 to 0.15, so that imperfect samples decode well too."""
    generator = torch.Generator().manual_seed(1)
    vae = vae.to(device)
    ema = copy.deepcopy(vae.decoder)
    decoder = torch.compile(vae.decoder.to(memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    offsets = torch.arange(-FRAMES_PER_LATENT, 1) / FPS
    start, step, spent, psnr = time.time(), 0, 0.0, 0.0
    while spent < 60 * minutes:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * max(0.02, 1 - spent / (60 * minutes))
        moment = torch.rand((), generator=generator) * 2.4 + offsets[-1] - offsets[0]
        video = (Clips.sample(24, generator).render(SIZE, moment + offsets) * 2 - 1).to(device)
        if step % 8 == 0:
            video = video[:, -1:].expand(-1, FRAMES_PER_LATENT + 1, -1, -1, -1)
        target = video[:, 1:].flatten(1, 2)
        with torch.no_grad():
            latents = vae.encode(video.transpose(1, 2)).transpose(1, 2).flatten(1, 2)
            noise = torch.rand(len(latents), 1, 1, 1, generator=generator) * 0.15
            latents += (noise * torch.randn(latents.shape, generator=generator)).to(device)
        with torch.autocast(device, torch.bfloat16):
            out = decoder(latents.contiguous(memory_format=torch.channels_last)).float()
        loss = F.mse_loss(out, target) + 0.1 * F.l1_loss(out, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        optimizer.step()
        step, spent = step + 1, time.time() - start
        torch._foreach_lerp_(
            [p.data for p in ema.parameters()], [p.data for p in vae.decoder.parameters()], max(0.01, 1 / (step + 1))
        )
        psnr += (-10 * (F.mse_loss(out.detach(), target) / 4).log10().item() - psnr) / min(step, 25)
        if step % 25 == 0:
            print(f"decoder {step} steps, {spent / 60:.1f} min, PSNR {psnr:.1f} dB", flush=True)
            save_file(
                {
                    **vae.state_dict(),
                    **{f"decoder.{key}": value.contiguous() for key, value in ema.state_dict().items()},
                },
                checkpoint,
            )


def noise_levels(n: int, generator: torch.Generator) -> Tensor:
    """Per-frame noise levels [n, WINDOW] of diffusion forcing: 35 % independent, 40 % staircase, 25 % synchronous,
    a clean prefix on half of the rows that are no staircase."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    kind = uniform(n, 1)
    size = 2 ** torch.randint(3, (n, 1), generator=generator)
    block = torch.arange(WINDOW)[None] // size
    slope = uniform(n, 1) * 0.3 * size / 2
    height = (WINDOW // size) * slope
    u = torch.where(kind < 0.35, uniform(n, WINDOW), uniform(n, 1).expand(n, WINDOW))
    staircase = (uniform(n, 1) * (1 + height) - height + slope * block).clamp(0, 1)
    u = torch.where(kind < 0.75, torch.where(kind < 0.35, u, staircase), u)
    prefix = torch.randint(1, WINDOW // 2 + 1, (n, 1), generator=generator)
    clean = (torch.arange(WINDOW)[None] < prefix) & (uniform(n, 1) < 0.5) & ((kind < 0.35) | (kind >= 0.75))
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
    """Word embeddings and a transformer of the SkyReels-V2 family, trained together."""

    file = TRANSFORMERS[SKYREELS.name]
    trains_words = True
    """Words and autoencoder are trained with it; the others take what is there."""
    longest = WINDOW
    """Latent frames of the longest clips; BATCH counts clips of this length."""
    metadata: ClassVar = {"transformer": {"num_heads": CONFIG.num_heads, "text_dim": CONFIG.text_dim}}

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 1, TEXT_DIM, padding_idx=0)
        self.transformer = WanTransformer(CONFIG)

    def compile_parts(self) -> None:
        WanAttention.attend = staticmethod(softmax_attention)
        self.compile()

    def frames(self, progress: float, shared: torch.Generator) -> Tensor:
        """Latent frames [F] of the video that a step at `progress` in [0, 1] trains on."""
        return torch.arange(WINDOW)

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.transformer(x, t, self.words(tokens), mask)

    def loss(self, x0: Tensor, tokens: Tensor, frames: Tensor, own: torch.Generator, shared: torch.Generator) -> Tensor:
        """Error of the velocity of latents x0 [B, 16, F, 8, 8], at noise levels drawn from `own`; `shared` is alike in
        all processes."""
        device = x0.device
        sigma = noise_levels(len(x0), own).to(device)
        noise = torch.randn(x0.shape, generator=own).to(device)
        level = sigma[:, None, :, None, None]
        tokens = tokens.masked_fill(torch.rand(len(x0), 1, generator=own) < DROPPED, 0).to(device)
        v = self((1 - level) * x0 + level * noise, 1000 * sigma, tokens, attention_mask(shared).to(device))
        return velocity_error(v, noise - x0, level > 0)


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
    """[NULL_TOKENS + B * words, hidden]: the null caption once, then that of every clip."""
    sees: Tensor
    """[B, r, r]: which chunks a chunk attends to."""
    null: Tensor
    """[B, r]: which chunks read the null caption."""


def over_chunks(self: MagiAttention, q: Tensor, k: Tensor, v: Tensor, layer: int, batch: Batch) -> Tensor:
    tokens = q.shape[1] // batch.sees.shape[1]
    q, k, v = (x.unflatten(2, (-1, self.head_dim)).transpose(1, 2) for x in (q, k, v))
    outputs = []
    for j, query in enumerate(q.split(tokens, 2)):
        end = (j + 1) * tokens
        sees = batch.sees[:, j, : j + 1].repeat_interleave(tokens, 1)[:, None, None]
        outputs.append(softmax_attention(query, k[:, :, :end], v[:, :, :end], sees))
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
    is_null = torch.arange(keys.shape[2], device=q.device) < NULL_TOKENS
    reads = (batch.null[..., None] == is_null).repeat_interleave(length // batch.null.shape[1], 1)[:, None]
    return (
        softmax_attention(q.unflatten(2, (-1, self.head_dim)).transpose(1, 2), keys, values, reads)
        .transpose(1, 2)
        .flatten(2)
    )


def chunk_steps(n: int, chunks: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Steps done [n, r] by each of `chunks` [r], `steps` being clean, and which chunks are alone.

    60 % are MAGI's own staircase at a random moment, where a chunk that has not entered the window yet is trained
    alone; 20 % are independent and 20 % synchronous.
    """

    def integers(end: int, *shape: int) -> Tensor:
        return torch.randint(end, shape, generator=generator)

    stage = steps // CHUNKS
    kind = torch.rand(n, 1, generator=generator)
    independent = integers(steps, n, len(chunks))
    staircase = (integers(int(chunks[-1]) + CHUNKS, n, 1) - chunks) * stage + integers(stage, n, 1)
    waits = (kind < 0.6) & (staircase < 0)
    done = torch.where(
        (kind < 0.6) & ~waits, staircase.clamp(max=steps), torch.where(kind < 0.8, independent, independent[:, :1])
    )
    return done, waits | (torch.rand(done.shape, generator=generator) < 0.03)


class MagiTrainee(nn.Module):
    """A transformer of the distilled MAGI-1 kind (one branch, told the step size), on the words of the SkyReels-shaped
    demo."""

    file = TRANSFORMERS[MAGI.name]
    trains_words = False
    longest = CHUNKS * CHUNK
    metadata: ClassVar = {
        "transformer": {"chunk_frames": CHUNK},
        "distilled": True,
        "num_steps": STEPS,
        "window_size": CHUNKS,
    }

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 1, TEXT_DIM, padding_idx=0).requires_grad_(False)
        self.words.load_state_dict(load_file(WEIGHTS / TEXT))
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

    def compile_parts(self) -> None:
        # A Batch takes the place of the Call that the methods know.
        MagiAttention.over_chunks = over_chunks  # type: ignore[method-assign, assignment]
        MagiAttention.over_captions = over_captions  # type: ignore[method-assign, assignment]
        for block in self.transformer.blocks:
            block.compile(dynamic=False)

    def frames(self, progress: float, shared: torch.Generator) -> Tensor:
        """Latent frames [F] of the video that a step at `progress` in [0, 1] trains on: whole chunks, two of them at
        first and then four, half of the time with gaps, so that a chunk meets all that a window and a clean chunk
        before it hold."""
        count, gaps = 2 if progress < 0.5 else CHUNKS, torch.rand((), generator=shared) < 0.5
        chunks = torch.randperm(CHUNKS + 1, generator=shared)[:count].sort()[0] if gaps else torch.arange(count)
        return (chunks[:, None] * CHUNK + torch.arange(CHUNK)).flatten()

    def loss(self, x0: Tensor, tokens: Tensor, frames: Tensor, own: torch.Generator, shared: torch.Generator) -> Tensor:
        """Error of the velocity of latents x0 [B, 16, F, 8, 8], at times drawn from `own`; `shared` is alike in all
        processes."""
        device, n, chunks = x0.device, len(x0), frames[::CHUNK] // CHUNK
        steps = STEPS // 2 ** int(torch.randint(4, (), generator=shared))
        done, alone = chunk_steps(n, chunks, steps, own)
        clean = done == steps
        ranged = torch.rand(n, 1, generator=own) < 0.4
        reach = torch.where(ranged, torch.where(clean, 1, 5 - 4 * done // steps), 99)
        distance = chunks[:, None] - chunks
        sees = (distance >= 0) & (distance < reach[..., None]) & (~alone[..., None] | (distance == 0))
        null = clean | (torch.rand(n, 1, generator=own) < DROPPED)
        known = torch.randint(1, 4, (n, 1), generator=own) * (torch.rand(n, 1, generator=own) < 0.1)
        given = (torch.arange(CHUNK) < known[..., None]) & (
            clean.cumprod(1).sum(1, keepdim=True) == torch.arange(len(chunks))
        )[..., None]
        noise = torch.randn(x0.shape, generator=own).to(device)
        t = (
            torch.from_numpy(times(steps, MAGI.tables[0], MAGI.defaults.shift))
            .float()[done]
            .masked_fill(clean, CLEAN)
            .to(device)
        )
        given, level = (
            given.flatten(1)[:, None, :, None, None].to(device),
            t.repeat_interleave(CHUNK, 1)[:, None, :, None, None],
        )
        v = self(
            torch.where(given, x0, (1 - level) * noise + level * x0),
            t,
            tokens[:, :4].to(device),
            chunks,
            steps,
            sees.to(device),
            null.to(device),
        )
        return velocity_error(v, x0 - noise, (level < CLEAN) & ~given)

    def forward(
        self, x: Tensor, t: Tensor, tokens: Tensor, chunks: Tensor, steps: int, sees: Tensor, null: Tensor
    ) -> Tensor:
        def around(i: int, hidden: Tensor, block: partial) -> Tensor:
            call = block.keywords["call"]
            return self.transformer.blocks[i](hidden, 0, Batch(call.angles, call.condition, call.caption, sees, null))

        nothing = self.transformer.y_embedder.null_caption_embedding[:NULL_TOKENS]
        captions = torch.cat([nothing, self.words(tokens).flatten(0, 1)])[None, None]
        mask = torch.ones(captions.shape[:3], dtype=torch.bool, device=x.device)
        return self.transformer(x, t, chunks.tolist(), (), captions, mask, dt=steps / 2, around=around)


Trainee = SkyReelsTrainee | MagiTrainee
TRAINEES: dict[str, type[Trainee]] = {SKYREELS.name: SkyReelsTrainee, MAGI.name: MagiTrainee}


def train_transformer(model: Trainee, vae: DemoVAE, steps: int, device: str, checkpoint: Path) -> Trainee:
    """Flow matching with a noise level per frame. Returns the averaged weights. Resumes from `checkpoint`."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    model = model.to(device)
    ema = copy.deepcopy(model)
    matrices = [p for block in model.transformer.blocks for p in block.parameters() if p.ndim == 2]
    trained = [p for p in model.parameters() if p.requires_grad]
    others = [p for p in trained if not any(p is q for q in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=2e-3, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    step = seen = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        step, seen = state["step"], state.get("clips", BATCH * state["step"])
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
    model.compile_parts()
    saved_at = begun = time.time()
    first, first_seen, mean_loss = step, seen, 0.0
    while step < steps:
        shared = torch.Generator().manual_seed(step)
        own = torch.Generator().manual_seed(1_000_003 * (rank + 1) + step)
        scale = min(1, (step + 1) / 80) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps))).item() + 0.005
        for group, peak in zip((g for o in optimizers for g in o.param_groups), peaks):
            group["lr"] = peak * scale
        frames = model.frames(step / steps, shared)
        clips = Clips.sample(BATCH * model.longest // len(frames) // world, own)
        with torch.no_grad():
            video = clips.render(SIZE // 2, latent_seconds(int(frames[-1]) + 1)[frames]) * 2 - 1
            x0 = vae.encoder(video.flatten(0, 1).to(device)).unflatten(0, (-1, len(frames))).transpose(1, 2)
        with torch.autocast(device, torch.bfloat16):
            loss = model.loss(x0, clips.tokens(), frames, own, shared)
        loss.backward()
        gradients = [p.grad for p in trained if p.grad is not None]
        if world > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            for g, part in zip(gradients, flat.div_(world).split([g.numel() for g in gradients])):
                g.copy_(part.view_as(g))
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        step, seen = step + 1, seen + len(clips.words) * world
        decay = min(0.9995, (step + 1) / (step + 10))
        torch._foreach_lerp_([p.data for p in ema.parameters()], [p.data for p in model.parameters()], 1 - decay)
        mean_loss += (loss.item() - mean_loss) / min(step - first, 200)
        if rank == 0 and step % 50 == 0:
            rate = (seen - first_seen) / (time.time() - begun)
            print(
                f"transformer {step}/{steps} steps, {seen} clips, {rate:.0f} clips/s, loss {mean_loss:.4f}", flush=True
            )
        if rank == 0 and (time.time() - saved_at > 240 or step == steps):
            saved_at = time.time()
            state = {
                "step": step,
                "clips": seen,
                "model": model.state_dict(),
                "ema": ema.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    return ema


def export(vae: DemoVAE, model: Trainee, folder: Path) -> None:
    """Write the files of a demo in half precision; the transformer in the published key layout of its family."""

    def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in state.items()}

    folder.mkdir(parents=True, exist_ok=True)
    save_file(half(model.transformer.state_dict()), folder / model.file, {"config": json.dumps(model.metadata)})
    if model.trains_words:
        save_file(half(model.words.state_dict()), folder / TEXT, {"words": json.dumps(WORDS), "tokens": str(TOKENS)})
        save_file(half(vae.state_dict()), folder / VAE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--family", choices=TRAINEES, default="skyreels", help="magi needs the weights of skyreels in place"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for checkpoints; a later call goes on from them"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder the finished weights are written to")
    parser.add_argument("--decoder-minutes", type=float, default=12)
    parser.add_argument("--steps", type=int, default=5_000, help=f"transformer steps of {BATCH} clips")
    parser.add_argument("--only", choices=("decoder", "transformer", "export"), help="one stage instead of all")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    main_rank = not dist.is_initialized() or dist.get_rank() == 0

    vae = DemoVAE()
    fit_encoder(vae)
    decoder_file, transformer_file = args.work / "decoder.safetensors", args.work / "transformer.pt"
    trainee = TRAINEES[args.family]
    if args.only in (None, "decoder") and main_rank and trainee.trains_words:
        train_decoder(vae, args.decoder_minutes, device, decoder_file)
    if args.only == "decoder":
        return
    vae.to(device)
    torch.manual_seed(0)
    model = train_transformer(trainee(), vae, 0 if args.only == "export" else args.steps, device, transformer_file)
    if args.only == "transformer" or not main_rank:
        return
    if trainee.trains_words:
        vae.load_state_dict(load_file(decoder_file))
    export(vae, model, args.out)


if __name__ == "__main__":
    main()
