"""The nodes of SCOPE for ComfyUI."""

from collections.abc import Iterator

from comfy_api.latest import ComfyExtension, io

from .accelerate import Accelerate
from .calibrate import Calibrate
from .comfy import routes
from .decode import DecodeSegments
from .helios import HeliosScheduleNode
from .loaders import LoadARModel, LoadDemo, LoadMagiVAE
from .magi import MagiScheduleNode
from .methods import ScopeSettings
from .planning import family_node, plan_node
from .prompt import MagiPrompt
from .quality import Compare, Quality
from .raylight import Raylight
from .report import SaveReport
from .sampling import ScopeSampler, ScopeSamplerSelect
from .schedule import ARScheduleNode, Sigmas
from .timeline import Timeline
from .tradeoff import Sweep, SweepClips, SweepPoint, SweepRuns, TradeoffChart


def classes_under(base: type) -> Iterator[type]:
    """Subclasses, theirs, and so on."""
    kinds: list[type] = base.__subclasses__()
    for kind in kinds:
        yield kind
        yield from classes_under(kind)


PACK = __name__.rpartition(".")[0]
for error in classes_under(Exception):
    if error.__module__.startswith(f"{PACK}."):
        error.__module__ = "SCOPE"  # which people read before the class's name; a module's begins with the pack's path


class ScopeExtension(ComfyExtension):
    async def on_load(self) -> None:
        routes.serve_plans(plan_node, family_node)
        routes.serve_runs()
        routes.serve_templates()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadARModel,
            LoadDemo,
            LoadMagiVAE,
            ARScheduleNode,
            MagiScheduleNode,
            HeliosScheduleNode,
            MagiPrompt,
            ScopeSettings,
            ScopeSampler,
            Calibrate,
            ScopeSamplerSelect,
            Accelerate,
            DecodeSegments,
            Sigmas,
            Timeline,
            Sweep,
            SweepPoint,
            SweepClips,
            SweepRuns,
            TradeoffChart,
            Quality,
            Compare,
            SaveReport,
            Raylight,
        ]
