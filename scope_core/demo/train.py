"""Train the demo model from nothing: `python -m scope_core.demo.train --work FOLDER`.

Three stages, each resumed from its checkpoint in the work folder: the autoencoder's fixed encoder (principal
components), its decoder, and the diffusion-forcing transformer with its word embeddings. Runs on a CPU or a GPU;
`torchrun --nproc-per-node 2 -m scope_core.demo.train ...` uses two processes. Recipe and findings: demo-model.md.
"""

import argparse
import copy
import json
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.demo_vae import DemoVAE
from ..models.wan import WanAttention, WanConfig, WanTransformer
from . import WEIGHTS
from .world import FPS, FRAMES_PER_LATENT, TOKENS, WINDOW, WORDS, Clips, latent_seconds

TEXT_DIM = 64
SIZE = 128
CONFIG = WanConfig(dim=192, ffn_dim=768, num_heads=6, num_layers=6, text_dim=TEXT_DIM)
BATCH = 16
SHIFT = 2.0


class DemoModel(nn.Module):
    """Word embeddings and transformer, trained together."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 1, TEXT_DIM, padding_idx=0)
        self.transformer = WanTransformer(CONFIG)

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.transformer(x, t, self.words(tokens), mask)


def fit_encoder(vae: DemoVAE, clips: int = 600) -> None:
    """Set the encoder to the leading principal components of 8x8 blocks, each scaled by std^0.75, then to unit scale overall."""
    generator = torch.Generator().manual_seed(0)
    seconds = latent_seconds(WINDOW)[torch.tensor([0, 7, 13])]
    frames = Clips.sample(clips, generator).render(SIZE // 2, seconds).flatten(0, 1) * 2 - 1
    blocks = F.unfold(frames, 8, stride=8).transpose(1, 2).flatten(0, 1)
    mean = blocks.mean(0)
    _, scale, axes = torch.linalg.svd(torch.cov((blocks - mean).T))
    std = scale[:16].sqrt()
    axes = axes[:16] / std[:, None] ** 0.25
    axes = axes / ((blocks - mean) @ axes.T).std()
    vae.encoder.weight.data = axes.reshape(16, 3, 8, 8).contiguous()
    vae.encoder.bias.data = -(axes @ mean)


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
        torch._foreach_lerp_([p.data for p in ema.parameters()], [p.data for p in vae.decoder.parameters()], max(0.01, 1 / (step + 1)))
        psnr += (-10 * (F.mse_loss(out.detach(), target) / 4).log10().item() - psnr) / min(step, 25)
        if step % 25 == 0:
            print(f"decoder {step} steps, {spent / 60:.1f} min, PSNR {psnr:.1f} dB", flush=True)
            save_file({**vae.state_dict(), **{f"decoder.{key}": value.contiguous() for key, value in ema.state_dict().items()}}, checkpoint)


def noise_levels(n: int, generator: torch.Generator) -> Tensor:
    """Per-frame noise levels [n, WINDOW] of diffusion forcing: 35 % independent, 40 % staircase, 25 % synchronous,
    a clean prefix on half of the rows that are no staircase."""
    def uniform(*shape):
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


def train_transformer(vae: DemoVAE, steps: int, device: str, checkpoint: Path) -> DemoModel:
    """Flow matching with a noise level per frame. Returns the averaged weights. Resumes from `checkpoint`."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(0)
    model = DemoModel().to(device)
    ema = copy.deepcopy(model)
    matrices = [p for p in model.transformer.blocks.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in matrices)]
    optimizers = [torch.optim.Muon(matrices, lr=2e-3, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(others, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01)]
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        step = state["step"]
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
    WanAttention.attend = staticmethod(softmax_attention)
    compiled = torch.compile(model)
    seconds = latent_seconds(WINDOW)
    saved_at = begun = time.time()
    first, mean_loss = step, 0.0
    while step < steps:
        shared = torch.Generator().manual_seed(step)
        own = torch.Generator().manual_seed(1_000_003 * (rank + 1) + step)
        scale = min(1, (step + 1) / 80) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps))).item() + 0.005
        for group, peak in zip((g for o in optimizers for g in o.param_groups), peaks):
            group["lr"] = peak * scale
        clips = Clips.sample(BATCH // world, own)
        with torch.no_grad():
            video = clips.render(SIZE // 2, seconds) * 2 - 1
            x0 = vae.encoder(video.flatten(0, 1).to(device)).unflatten(0, (-1, WINDOW)).transpose(1, 2)
        sigma = noise_levels(len(x0), own).to(device)
        noise = torch.randn(x0.shape, generator=own).to(device)
        level = sigma[:, None, :, None, None]
        tokens = clips.tokens().masked_fill(torch.rand(len(x0), 1, generator=own) < 0.1, 0).to(device)
        with torch.autocast(device, torch.bfloat16):
            v = compiled((1 - level) * x0 + level * noise, 1000 * sigma, tokens, attention_mask(shared).to(device))
        error = (v.float() - (noise - x0)).square() * (level > 0)
        loss = error.sum() / ((level > 0).expand_as(error).sum() + 1)
        loss.backward()
        gradients = [p.grad for p in model.parameters()]
        if world > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            for g, part in zip(gradients, flat.div_(world).split([g.numel() for g in gradients])):
                g.copy_(part.view_as(g))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        step += 1
        decay = min(0.9995, (step + 1) / (step + 10))
        torch._foreach_lerp_([p.data for p in ema.parameters()], [p.data for p in model.parameters()], 1 - decay)
        mean_loss += (loss.item() - mean_loss) / min(step - first, 200)
        if rank == 0 and step % 50 == 0:
            rate = (step - first) * BATCH / (time.time() - begun)
            print(f"transformer {step}/{steps} steps, {step * BATCH} clips, {rate:.0f} clips/s, loss {mean_loss:.4f}", flush=True)
        if rank == 0 and (time.time() - saved_at > 240 or step == steps):
            saved_at = time.time()
            state = {"step": step, "model": model.state_dict(), "ema": ema.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    return ema


def export(vae: DemoVAE, model: DemoModel, folder: Path) -> None:
    """Write the three files of the demo in half precision; the transformer in the official SkyReels-V2 key layout."""
    def half(state):
        return {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in state.items()}

    folder.mkdir(parents=True, exist_ok=True)
    config = {"transformer": {"num_heads": CONFIG.num_heads, "text_dim": CONFIG.text_dim}}
    save_file(half(model.transformer.state_dict()), folder / "scope_demo_df.safetensors", {"config": json.dumps(config)})
    save_file(half(model.words.state_dict()), folder / "scope_demo_text.safetensors", {"words": json.dumps(WORDS), "tokens": str(TOKENS)})
    save_file(half(vae.state_dict()), folder / "scope_demo_vae.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; a later call goes on from them")
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
    if args.only in (None, "decoder") and main_rank:
        train_decoder(vae, args.decoder_minutes, device, decoder_file)
    if args.only == "decoder":
        return
    vae.to(device)
    model = train_transformer(vae, 0 if args.only == "export" else args.steps, device, transformer_file)
    if args.only == "transformer" or not main_rank:
        return
    vae.load_state_dict(load_file(decoder_file))
    export(vae, model, args.out)


if __name__ == "__main__":
    main()
