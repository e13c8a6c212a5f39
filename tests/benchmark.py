"""Measure every preset on the demo model: `python -m tests.benchmark`.

One baseline, each preset, and the reduced-step runs that any caching method must beat, with the same prompts and seeds.
Prints a table and writes it as JSON and Markdown. Fidelity is to the baseline, and to a run of four times the steps.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

COLUMNS = ("setting", "iterations", "computed", "forwards", "TFLOP", "FLOP x", "seconds", "time x", "MB kept", "PSNR", "worst", "SSIM", "PSNR fine")
STEPS, WINDOW = 50, 16


def measure(clips: int, out: Path, readme: bool) -> None:
    import torch

    from scope_core.demo.evaluate import Demo
    from scope_core.demo.world import Clips
    from scope_core.metrics import count_flops, mean_psnr, ssim
    from scope_core.presets import PRESETS
    from scope_core.schedule import ARSchedule
    from scope_core.solver import Euler, UniPC
    from scope_core.term import Guided, timesteps

    demo = Demo()
    tokens = Clips.sample(clips, torch.Generator().manual_seed(777_000)).tokens()

    def flops(frames: int) -> int:
        term = Guided(demo.transformer, demo.words[tokens], demo.words[torch.zeros(1, 8, dtype=torch.long)], 2.5)
        return count_flops(lambda: term.velocity(torch.zeros(clips, 16, frames, 8, 8), timesteps(torch.full((frames,), 0.5).numpy()), None, None))

    cost = {frames: flops(frames) for frames in range(1, WINDOW + 1)}
    rows = []
    for mode, ar_step in (("synchronous", 0), ("asynchronous", 5)):
        schedule = ARSchedule(WINDOW, STEPS, WINDOW, 5, 1, ar_step)
        fine = demo.decode(demo.sample(tokens, ARSchedule(WINDOW, 4 * STEPS, WINDOW, 5, 1, 4 * ar_step), PRESETS["off"], 1)[0])
        reduced = [(18, 0)] if ar_step == 0 else [(20, 2)]
        runs = [(name, schedule, settings, UniPC) for name, settings in PRESETS.items()]
        for steps, lag in reduced:
            few = ARSchedule(WINDOW, steps, WINDOW, 5, 1, lag)
            runs += [(f"{steps} Euler steps", few, PRESETS["off"], Euler), (f"{steps} UniPC steps", few, PRESETS["off"], UniPC)]
        baseline = None
        for name, plan, settings, solver in runs:
            began = time.perf_counter()
            latents, trace = demo.sample(tokens, plan, settings, 1, solver=solver)
            seconds = time.perf_counter() - began
            video = demo.decode(latents)
            totals = trace.totals
            spent = sum(cost[step["frames"][1] - step["frames"][0]] for s in trace.segments for step in s.steps if "R" in step["modes"])
            baseline = baseline or (video, seconds, spent)
            fidelity = mean_psnr(video, baseline[0])
            rows.append({
                "schedule": mode, "setting": name, "iterations": totals["iterations"], "computed": totals["computed"], "forwards": totals["forwards"],
                "TFLOP": spent / 1e12, "FLOP x": baseline[2] / spent, "seconds": seconds, "time x": baseline[1] / seconds,
                "MB kept": totals["memory_bytes"] / 1e6, "PSNR": fidelity.mean().item(), "worst": fidelity.min().item(),
                "SSIM": ssim(video, baseline[0]).mean().item(), "PSNR fine": mean_psnr(video, fine).mean().item()})
            print_row(rows[-1], first=name == "off")
    out.mkdir(parents=True, exist_ok=True)
    report = {"format": "scope.benchmark", "version": 1, "model": "SCOPE demo", "clips": clips, "steps": STEPS, "torch": torch.__version__,
              "threads": torch.get_num_threads(), "rows": rows}
    (out / "benchmark.json").write_text(json.dumps(report, indent=1))
    (out / "benchmark.md").write_text(markdown(rows))
    if readme:
        into_readme("benchmark", markdown(rows) + f"\n{clips} prompts and seeds held out from training, guidance 2.5, UniPC where not said otherwise, "
                    f"{torch.get_num_threads()} CPU threads.")
    print(f"\nWritten: {out / 'benchmark.json'}, {out / 'benchmark.md'}")


def into_readme(name: str, text: str) -> None:
    """Put a report between its markers in the README."""
    readme = Path(__file__).parents[1] / "README.md"
    before, rest = readme.read_text().split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    readme.write_text(f"{before}<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->{after}")


def show(row: dict, column: str) -> str:
    digits = {"TFLOP": 2, "FLOP x": 2, "seconds": 1, "time x": 2, "MB kept": 2, "PSNR": 1, "worst": 1, "SSIM": 4, "PSNR fine": 1}
    return f"{row[column]:.{digits[column]}f}" if column in digits else str(row[column])


def print_row(row: dict, first: bool) -> None:
    if first:
        print(f"\n{row['schedule']}\n" + "".join(f"{c:>16}" if c == "setting" else f"{c:>11}" for c in COLUMNS))
    print("".join(f"{show(row, c):>16}" if c == "setting" else f"{show(row, c):>11}" for c in COLUMNS), flush=True)


def markdown(rows: list[dict]) -> str:
    lines = []
    for mode in dict.fromkeys(row["schedule"] for row in rows):
        lines += [f"**{mode}**", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
        lines += ["| " + " | ".join(show(row, c) for c in COLUMNS) + " |" for row in rows if row["schedule"] == mode] + [""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI whose Python to use; otherwise one is found or built")
    parser.add_argument("--clips", type=int, default=4, help="prompts and seeds to average over")
    parser.add_argument("--out", type=Path, default=Path("scope-output"))
    parser.add_argument("--readme", action="store_true", help="also put the table into the README")
    parser.add_argument("--here", action="store_true", help="measure in this Python, which has torch and scikit-image")
    args = parser.parse_args()
    if args.here:
        measure(args.clips, args.out, args.readme)
        return 0
    from workflows.host import find_or_build

    host = find_or_build(args.comfyui, ("scikit-image",))
    command = [str(host.python), "-m", "tests.benchmark", "--here", "--clips", str(args.clips), "--out", str(args.out), *(["--readme"] if args.readme else [])]
    return subprocess.run(command, cwd=Path(__file__).parents[1]).returncode


if __name__ == "__main__":
    sys.exit(main())
