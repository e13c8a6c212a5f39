"""A workflow with each of a list of prompts, seeds and values of widgets: `python -m workflows NAME --prompts FILE`."""

import argparse
import copy
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from scope_core import disk

from . import examples
from .cluster import pool_of
from .graph import WorkflowError, set_widget, to_prompt
from .jobs import Job, Made, clear, slug, work

SEEDS = ("seed", "noise_seed")
"""Names of widgets that hold one."""


def render(options: argparse.Namespace, file: Path) -> None:
    """Every combination, as OUT/NAME.mp4 or what else the workflow saves, and OUT/NAME.json, which tells what it was
    made of, with its traces. Raises `WorkflowError`, `HostError`."""
    workflow = examples.read(file)
    jobs = list({job.file: job for job in combinations(options, file.stem, workflow)}.values())
    todo = [job for job in jobs if not job.file.exists()]
    print(f"{len(jobs)} runs of {file.stem}, {len(jobs) - len(todo)} of them there already", flush=True)
    if not todo:
        return
    pool = pool_of(options.ray, options.workers, options.comfyui, options.out)
    try:
        usual = to_prompt(workflow, pool.object_info())
        for job in todo:
            job.prompt.update(copy.deepcopy(usual))
            for node in job.prompt.values():
                if "resume" in node["inputs"]:
                    node["inputs"]["resume"] = True
            for change in job.about["changes"]:
                set_widget(change, job.prompt)
            for seed in seeds_of(usual) if job.about["seed"] is not None else ():
                set_widget(f"{seed}={job.about['seed']}", job.prompt)
            if job.about["prompt"] is not None:
                set_widget(f"{options.prompt_widget or prompt_of(usual)}={job.about['prompt']}", job.prompt)
        pool.begin(workflow, todo[0].prompt)
        work(todo, pool, keep, options.out)
    finally:
        pool.close()
    clear(options.out)


def combinations(options: argparse.Namespace, name: str, workflow: dict) -> Iterator[Job]:
    """Jobs whose prompts are still to be filled in. A file's name ends with a checksum of all that decides on what is
    in it, but for versions."""
    nodes = [[node["id"], node["type"], node.get("mode", 0), node.get("widgets_values")] for node in workflow["nodes"]]
    values = [[f"{widget}={value}" for value in rest] for widget, *rest in options.vary]
    if alone := [widget for widget, *rest in options.vary if not rest]:
        raise WorkflowError(f"--vary {alone[0]} has no values. Give them after it: --vary {alone[0]} VALUE VALUE")
    for text, seed, varied in itertools.product(
        read_lines(options.prompts) if options.prompts else [None], options.seeds or [None], itertools.product(*values)
    ):
        about = {"workflow": name, "prompt": text, "seed": seed, "changes": [*options.changes, *varied]}
        made_of = json.dumps([nodes, workflow["links"], about, options.prompt_widget], sort_keys=True)
        told = [slug(text or name), *([f"seed{seed}"] if seed is not None else [])]
        told += [slug(value.partition("=")[2], 16) for value in varied]
        short = "-".join(filter(None, told)).encode()[:180].decode(errors="ignore")
        yield Job(options.out / f"{short}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}.json", {}, workflow, about)


def read_lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as problem:
        raise WorkflowError(f"{file} cannot be read as text: {problem}.") from problem
    if not any(lines):
        raise WorkflowError(f"{file} has no prompts. Write one a line.")
    return [line for line in lines if line]


def prompt_of(prompt: dict) -> str:
    """The widget `id.text` that all positive conditionings come from. Raises `WorkflowError` where that is not one."""
    found, waiting = set(), [node["inputs"]["positive"] for node in prompt.values() if "positive" in node["inputs"]]
    seen = set()
    while waiting:
        key = waiting.pop()[0]
        node = prompt[key]
        if isinstance(node["inputs"].get("text"), str):
            found.add(f"{key}.text")
        elif key not in seen:
            seen.add(key)
            waiting += [value for value in node["inputs"].values() if isinstance(value, list)]
    if len(found) != 1:
        several = f"could go to {', '.join(sorted(found))}" if found else "have no place"
        raise WorkflowError(f"Prompts {several} in this workflow. Choose with --prompt-widget NODE.WIDGET")
    return found.pop()


def seeds_of(prompt: dict) -> list[str]:
    """All widgets `id.name` that hold a seed. Raises `WorkflowError` where there are none."""
    found = [
        f"{key}.{name}"
        for key, node in prompt.items()
        for name in SEEDS
        if name in node["inputs"] and not isinstance(node["inputs"][name], list)
    ]
    if not found:
        raise WorkflowError(f"No node of this workflow has a widget {' or '.join(SEEDS)} for --seeds")
    return found


def keep(job: Job, made: Made) -> str:
    """Files that were saved, under the job's name, then what they were made of."""
    endings = [Path(name).suffix for name in made.files]
    names_alone = [Path(name).name for name in made.files]
    names = {}
    for name, data in made.files.items():
        path = Path(name)
        only = endings.count(path.suffix) == 1 and path.suffix != ".json"
        told = path.stem if names_alone.count(path.name) == 1 else "-".join(path.with_suffix("").parts)
        target = job.file.with_name(f"{job.file.stem}{'' if only else f'.{told}'}{path.suffix}")
        disk.write(target, data)
        names[name] = target.name
    traces = {
        job.prompt[key]["_meta"]["title"]: output["scope_trace"][0]
        for key, output in made.outputs.items()
        if "scope_trace" in output
    }
    report = {
        "format": "scope.job",
        "version": 1,
        **job.about,
        "files": names,
        "seconds": round(made.seconds, 2),
        "environment": made.environment,
        "texts": [text for output in made.outputs.values() for text in output.get("text", ())],
        "traces": traces,
        "api": job.prompt,
    }
    disk.write(job.file, json.dumps(report, ensure_ascii=False, indent=1).encode())
    totals = "".join(
        f", {title}: {trace['totals']['computed']} of {trace['totals']['iterations']} computed"
        for title, trace in traces.items()
    )
    return f"{job.file.stem}, {made.seconds:.1f} s{totals}"
