"""What the sampling loop itself costs: `python -m tests.efficiency`.

On a model of a few hundred million random parameters: measured speed-up against the speed-up in floating-point
operations, the share of the loop that is not the network, what is kept in memory, and the unaccelerated loop against
diffusers' pipeline on the same weights. Every figure is a ratio within one run; prints and writes JSON.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

STEPS, FRAMES, SIZE = 20, 4, 16
WIDTH, LAYERS = 1024, 16
NEVER = 1e9
EAGER = {
    "planned": {"computed": (1, 4, 7, 10, 13, 16, 19)},
    "taylorseer": {"interval": 3},
    "delta_dit": {"every": 3},
    "reduced": {"computed": 7},
    "easycache": {"tau": NEVER},
    "predit": {"tau": NEVER},
    "magcache": {"threshold": NEVER, "retention": 0.0, "ratios": (1.0, 1.0)},
    "lemica": {"computed": 7},
    "meancache": {"computed": 7},
    "dpcache": {"steps": (1, 4, 7, 10, 13, 16, 19)},
    "budcache": {"steps": (1, 4, 7, 10, 13, 16, 19)},
    "hicache": {"interval": 3},
    "arcache": {"threshold": NEVER, "length": "none"},
    "bwcache": {"threshold": NEVER, "tail_ratio": 0.0},
}
"""Knobs by which methods skip whatever random weights make of their signals; by default a threshold that is never
reached."""


def measure(out: Path, keep: bool) -> None:
    import torch
    from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler

    from scope_core import METHODS, PRESETS, SKYREELS, Gate, Settings, sample
    from scope_core.families.skyreels import Guided, timesteps
    from scope_core.loop.trace import Trace
    from scope_core.networks.skyreels_keys import to_official
    from scope_core.networks.wan import WanConfig, WanTransformer
    from scope_core.study.metrics import count_flops

    class Timed(Guided):
        """Adds up the time and the operations spent in the network."""

        seconds, flops = 0.0, 0

        def velocity(self, x, timestep, attended, around):
            began, before = time.perf_counter(), self.forwards
            v = super().velocity(x, timestep, attended, around)
            self.seconds += time.perf_counter() - began
            self.flops += count[x.shape[2]] * (self.forwards - before)
            return v

    torch.manual_seed(0)
    reference = SkyReelsV2Transformer3DModel(
        num_attention_heads=WIDTH // 128,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=256,
        freq_dim=256,
        ffn_dim=4 * WIDTH,
        num_layers=LAYERS,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=False,
    ).eval()
    network = WanTransformer(WanConfig(WIDTH, 4 * WIDTH, WIDTH // 128, LAYERS, text_dim=256)).eval()
    network.load_state_dict(to_official(reference.state_dict()))
    context = torch.randn(1, 64, 256)
    noise = torch.randn(1, 16, FRAMES, SIZE, SIZE)
    plain = Guided(network, context)
    count = {
        f: count_flops(lambda: plain.velocity(noise[:, :, :f], timesteps(torch.full((f,), 0.5).numpy()), None, None))
        for f in range(1, FRAMES + 1)
    }

    def loop(schedule, settings) -> tuple[float, Timed, Trace]:
        model = Timed(network, context)
        began = time.perf_counter()
        with torch.inference_mode():
            made = sample(model, noise, schedule, settings)
        return time.perf_counter() - began, model, made.trace

    def row(settings) -> dict:
        """Measured between two full runs, because the machine may be shared."""
        seconds, model, trace = loop(schedule, settings)
        fulls.append(loop(schedule, PRESETS["off"]))
        full, flop_x = sum(run[0] for run in fulls[-2:]) / 2, fulls[-1][1].flops / model.flops
        return {
            "output": settings.acting.depth > 0,
            "computed": trace.totals["computed"],
            "time x": full / seconds,
            "FLOP x": flop_x,
            "time x / FLOP x": full / seconds / flop_x,
            "loop outside the network, of the full run": (seconds - model.seconds) / full,
            "bytes kept": trace.memory,
        }

    report = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": STEPS,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    schedule = SKYREELS.schedule(FRAMES, STEPS, FRAMES)
    loop(SKYREELS.schedule(FRAMES, 2, FRAMES), PRESETS["off"])
    fulls = [loop(schedule, PRESETS["off"])]
    report["off"] = {"loop outside the network": 1 - fulls[0][1].seconds / fulls[0][0]}
    for name, max_skip in (("two skipped", 2), ("four skipped", 4)):
        report[name] = row(Settings(METHODS["scope"](signal="sigma", tau_p=100.0), Gate(max_skip)))
    report["methods"] = {}
    for name in sorted(name for name, method in METHODS.items() if method.offered and name != "scope"):
        method = METHODS[name](**EAGER.get(name, {"threshold": NEVER}))
        report["methods"][name] = row(Settings(method, Gate(2, 1, 0)))
        print(name, report["methods"][name], flush=True)

    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=8.0, solver_order=2
    )
    pipe = SkyReelsV2DiffusionForcingPipeline(
        tokenizer=None, text_encoder=None, transformer=reference, vae=None, scheduler=scheduler
    )
    pipe.set_progress_bar_config(disable=True)

    def pipeline(steps: int) -> float:
        began = time.perf_counter()
        pipe(
            None,
            height=SIZE * 8,
            width=SIZE * 8,
            num_frames=4 * FRAMES - 3,
            base_num_frames=4 * FRAMES - 3,
            num_inference_steps=steps,
            guidance_scale=1.0,
            prompt_embeds=context,
            output_type="latent",
            ar_step=0,
            overlap_history=None,
            addnoise_condition=0,
        )
        return time.perf_counter() - began

    pipeline(2)
    before, theirs, after = loop(schedule, PRESETS["off"])[0], pipeline(STEPS), loop(schedule, PRESETS["off"])[0]
    report["unaccelerated loop / diffusers pipeline"] = (before + after) / 2 / theirs
    print(json.dumps(report, indent=1))
    out.mkdir(parents=True, exist_ok=True)
    (out / "efficiency.json").write_text(json.dumps(report, indent=1))
    if keep:
        from tests import pages

        pages.keep([out / "efficiency.json"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI whose Python to use; otherwise one is found or built")
    parser.add_argument("--out", type=Path, default=Path("scope-output"))
    parser.add_argument(
        "--keep", action="store_true", help="also keep the report in tests/reports, and write the pages"
    )
    parser.add_argument("--here", action="store_true", help="measure in this Python, which has torch and diffusers")
    args = parser.parse_args()
    if args.here:
        measure(args.out, args.keep)
        return 0
    from workflows.launcher import find_or_build

    host = find_or_build(args.comfyui, ("diffusers==0.42.1",))
    return subprocess.run(
        [
            str(host.python),
            "-m",
            "tests.efficiency",
            "--here",
            "--out",
            str(args.out),
            *(["--keep"] if args.keep else []),
        ],
        cwd=Path(__file__).parents[1],
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
