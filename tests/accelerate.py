"""What SCOPE Accelerate before KSampler gives beside SCOPE Sampler on a trained model: `python -m tests.accelerate`.

The shipped SkyReels demo as one window of 25 latent frames, euler, the same steps computed in both; each skipping run
against the full run of its own sampler. Prints and writes JSON.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

PACK = Path(__file__).parents[1]
FRAMES, STEPS, CFG, COMPUTED, PROMPTS = 25, 50, 2.5, (20, 12), 777_000
"""Prompts are the first of those that the benchmark judges."""
WAYS = {
    "SCOPE Accelerate": ("accelerate", "released", False),
    "the same at `simple`": ("accelerate", "simple", False),
    "SCOPE Sampler, `correct` off": ("sampler", "released", False),
    "SCOPE Sampler as it is": ("sampler", "released", True),
}
"""Who samples, at which noise levels, and whether the past is corrected."""


def load_pack(comfyui: Path):
    """The pack as ComfyUI loads it, on a CPU."""
    sys.path.insert(0, str(comfyui))
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    spec = importlib.util.spec_from_file_location("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)


def measure(comfyui: Path, clips: int, out: Path, keep: bool) -> None:
    load_pack(comfyui)
    import comfy.samplers
    import torch
    from pack.nodes.comfy import demo
    from pack.nodes.comfy.accelerate import Asked, accelerate
    from pack.nodes.comfy.sampling import VideoSampler
    from pack.scope_core import SKYREELS
    from pack.scope_core.demo.training.world import Clips
    from pack.scope_core.methods import Planned
    from pack.scope_core.methods.planned import denser_at_the_end
    from pack.scope_core.settings import PRESETS, Settings

    torch.set_grad_enabled(False)
    model, clip, vae = demo.load_demo_model(), demo.load_demo_clip(), demo.DemoVideoVAE()
    prompts = Clips.sample(64, torch.Generator().manual_seed(PROMPTS))
    levels = {
        "released": torch.tensor(SKYREELS.schedule(FRAMES, STEPS).sigmas, dtype=torch.float32),
        "simple": comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS),
    }

    def video(seed: int, who: str, settings: Settings, sigmas: torch.Tensor) -> torch.Tensor:
        stock = who == "accelerate"
        guider = comfy.samplers.CFGGuider(accelerate(model, Asked(settings)) if stock else model)
        texts = (prompts.caption(seed), "")
        guider.set_conds(*([[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in texts))
        guider.set_cfg(CFG)
        noise = torch.randn(1, 16, FRAMES, 8, 8, generator=torch.Generator().manual_seed(seed))
        sampler = VideoSampler(None, settings, "euler", lambda trace: None)
        used = comfy.samplers.sampler_object("euler") if stock else sampler
        return vae.decode(guider.sample(noise, noise * 0, used, sigmas.clone(), disable_pbar=True, seed=seed))

    psnr: dict[str, dict[str, list[float]]] = {str(count): {way: [] for way in WAYS} for count in COMPUTED}
    for seed in range(clips):
        full = {way[:2]: video(seed, way[0], PRESETS["off"], levels[way[1]]) for way in WAYS.values()}
        for count in COMPUTED:
            steps = denser_at_the_end(count, STEPS)
            for name, (who, table, corrected) in WAYS.items():
                made = video(seed, who, Settings(Planned(computed=steps), correct=corrected), levels[table])
                error = (made - full[who, table]).square().mean()
                psnr[str(count)][name].append(round(float(-10 * error.log10()), 2))
        print(seed, {count: {name: of[-1] for name, of in ways.items()} for count, ways in psnr.items()}, flush=True)
    for count, ways in psnr.items():
        print(count, "of", STEPS, {name: round(mean(of), 1) for name, of in ways.items()})
    file = out / "accelerate.json"
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"clips": clips, "steps": STEPS, "psnr": psnr}, indent=1) + "\n")
    if keep:
        from tests import pages

        pages.keep([file])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, help="the ComfyUI to use; otherwise one is found or built")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("scope-output"))
    parser.add_argument(
        "--keep", action="store_true", help="also keep the report in tests/reports, and write the pages"
    )
    parser.add_argument("--here", action="store_true", help="measure in this Python, which is ComfyUI's")
    args = parser.parse_args()
    if args.here:
        measure(args.comfyui, args.clips, args.out, args.keep)
        return 0
    from workflows.launcher import find_or_build

    host = find_or_build(args.comfyui)
    options = ["--here", "--comfyui", host.root, "--clips", args.clips, "--out", args.out.resolve()]
    command = [host.python, "-m", "tests.accelerate", *options, *(["--keep"] if args.keep else [])]
    return subprocess.run([str(part) for part in command], cwd=PACK, env=os.environ).returncode


if __name__ == "__main__":
    sys.exit(main())
