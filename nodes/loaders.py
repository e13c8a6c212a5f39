"""Load AR Video Model, Load SCOPE Demo."""

import os

from comfy_api.latest import io

from .host import demo, loading


class LoadARModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_LoadModel",
            display_name="Load AR Video Model",
            category="SCOPE",
            description="Loads a SkyReels-V2 diffusion-forcing model as a standard MODEL, ready for the SCOPE samplers. LoRA, fp8 and offload "
                        "nodes work on it as on any other.",
            search_aliases=["skyreels", "diffusion forcing", "long video", "wan", "load diffusion model", "unet loader"],
            inputs=[
                io.Combo.Input("model_name", options=loading.model_names(),
                               tooltip="A SkyReels-V2-DF file in models/diffusion_models: official (of a sharded model choose the first file), "
                                       "Kijai's single files, or the diffusers layout. The kind is told from the weights."),
                io.Combo.Input("weight_dtype", options=list(loading.DTYPES), default="default", advanced=True,
                               tooltip="How weights are stored. default: as in the file, or what suits the GPU. The model was released in bf16."),
                io.Combo.Input("fps", options=["24", "16"], default="24", advanced=True,
                               tooltip="Frame rate the 1.3B model is told; it was made for 24. The 14B models ignore it."),
                io.Model.Input("model", optional=True,
                               tooltip="A SkyReels-V2-DF MODEL from another loader, such as GGUF. Its weights are used, and only the fps branch, "
                                       "which other loaders drop, is read from the file above."),
            ],
            outputs=[io.Model.Output(tooltip="Takes LoRA, torch.compile and offload nodes like any MODEL.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **kwargs) -> list:
        return [(path, os.stat(path).st_mtime_ns) for path in loading.model_paths(model_name)]

    @classmethod
    def execute(cls, model_name: str, weight_dtype: str, fps: str, model=None) -> io.NodeOutput:
        paths = loading.model_paths(model_name)
        if model is not None:
            return io.NodeOutput(loading.complete_model(model, paths, int(fps)))
        dtype = loading.DTYPES[weight_dtype]
        return io.NodeOutput(loading.load_ar_model(paths, int(fps), {"dtype": dtype} if dtype else {}))


class LoadDemo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_LoadDemo",
            display_name="Load SCOPE Demo",
            category="SCOPE",
            description="A small diffusion-forcing video model that ships with the pack: coloured shapes in motion, 128x128, 61 frames. It makes a "
                        "video in seconds without a GPU, through the same nodes as SkyReels-V2, so presets can be tried at once.",
            search_aliases=["scope demo", "example model", "test model"],
            inputs=[],
            outputs=[
                io.Model.Output(tooltip="The transformer: Wan architecture, 4 million parameters."),
                io.Clip.Output(tooltip="Knows circle, square, triangle, star, ring; bouncing, hopping, orbiting, swaying; seven colours and five "
                                       "backgrounds. Other words are ignored."),
                io.Vae.Output(tooltip="16x smaller in space, 4x in time."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(demo.load_demo_model(), demo.load_demo_clip(), demo.DemoVideoVAE())
