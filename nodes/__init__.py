"""The nodes of SCOPE for ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .loaders import LoadARModel, LoadDemo
from .sampling import ScopeSampler, ScopeSamplerSelect, ScopeSettings
from .schedule import ARScheduleNode
from .timeline import Timeline


class ScopeExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadARModel, LoadDemo, ARScheduleNode, ScopeSettings, ScopeSampler, ScopeSamplerSelect, Timeline]
