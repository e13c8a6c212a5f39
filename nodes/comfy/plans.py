"""Plans of steps: those in ComfyUI's user folder, which people share, and the shipped ones of the demo models."""

from pathlib import Path

import folder_paths

from ...scope_core.demo.shipped import PLANS
from ...scope_core.study.plans import Plan, PlanError, read


def folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "scope" / "plans"


def known_plans(shipped: bool = True) -> tuple[list[Plan], list[str]]:
    """Plans, those of the user folder first, and a sentence for each file that is none."""
    plans, problems = [], []
    for file in [*sorted(folder().glob("*.json")), *(sorted(PLANS.glob("*.json")) if shipped else [])]:
        try:
            plans.append(read(file))
        except (PlanError, OSError) as error:
            problems.append(f"a plan is left out: {error}")
    return plans, problems
