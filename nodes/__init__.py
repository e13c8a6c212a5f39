"""The nodes of SCOPE for ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .calibrate import Calibrate
from .comfy import routes
from .decode import DecodeSegments
from .loaders import LoadARModel, LoadDemo, LoadMagiVAE
from .magi import MagiScheduleNode
from .methods import ScopeSettings
from .planning import plan_node
from .prompt import MagiPrompt
from .quality import Compare, Quality
from .report import SaveReport
from .sampling import ScopeSampler, ScopeSamplerSelect
from .schedule import ARScheduleNode
from .timeline import Timeline
from .tradeoff import Sweep, SweepPoint, SweepRuns, TradeoffChart


class ScopeExtension(ComfyExtension):
    async def on_load(self) -> None:
        routes.serve_plans(plan_node)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadARModel,
            LoadDemo,
            LoadMagiVAE,
            ARScheduleNode,
            MagiScheduleNode,
            MagiPrompt,
            ScopeSettings,
            ScopeSampler,
            Calibrate,
            ScopeSamplerSelect,
            DecodeSegments,
            Timeline,
            Sweep,
            SweepPoint,
            SweepRuns,
            TradeoffChart,
            Quality,
            Compare,
            SaveReport,
        ]
