"""SCOPE Raylight."""

from typing import Any

from comfy_api.latest import io

from ..scope_core.settings import Settings
from .comfy import loading
from .comfy.raylight import Prepare
from .comfy.reports import ReportWriter
from .loaders import fps_input
from .methods import SettingsType
from .sampling import report_input

ActorsType = io.Custom("RAY_ACTORS")
OTHER = "any other flow-matching model"


class Raylight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Raylight",
            display_name="SCOPE Raylight",
            category="SCOPE",
            description=(
                "Prepares the model in Raylight's workers, one on each GPU, for SCOPE: SkyReels-V2 for SCOPE Sampler"
                " (Advanced), or any flow-matching model to skip evaluations in Raylight's own samplers. Needs the"
                " Raylight pack."
            ),
            search_aliases=["raylight", "xfuser", "multi gpu", "several gpus", "usp", "fsdp", "ray"],
            inputs=[
                ActorsType.Input("ray_actors", tooltip="From Raylight's model loader, behind its LoRA nodes."),
                io.Combo.Input(
                    "model_name",
                    options=[OTHER, *loading.model_names()],
                    default=OTHER,
                    tooltip=(
                        "The file that Raylight loaded, if it is a SkyReels-V2-DF model: its fps branch is read from"
                        " it, and its frames may then stand at noise levels of their own."
                    ),
                ),
                fps_input(),
                report_input("scope_raylight"),
                SettingsType.Input(
                    "settings",
                    optional=True,
                    tooltip=(
                        "From SCOPE Settings: Raylight's KSamplers skip evaluations, as behind SCOPE Accelerate. Leave"
                        " it open where SCOPE Sampler (Advanced) samples, which has settings of its own."
                    ),
                ),
            ],
            outputs=[ActorsType.Output(tooltip="For Raylight's samplers.")],
        )

    @classmethod
    def execute(
        cls, ray_actors: Any, model_name: str, fps: str, report_name: str, settings: Settings | None = None
    ) -> io.NodeOutput:
        import ray

        paths = [] if model_name == OTHER else loading.model_paths(model_name)
        prepare = Prepare(paths, int(fps), settings, ReportWriter(report_name))
        workers = (ray_actors if isinstance(ray_actors, dict) else ray_actors[0])["workers"]
        ray.get([worker.model_function_runner.remote(prepare) for worker in workers])
        return io.NodeOutput(ray_actors)
