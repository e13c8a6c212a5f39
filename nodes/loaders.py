"""Load AR Video Model, Load SCOPE Demo, Load MAGI-1 VAE."""

from pathlib import Path

from comfy_api.latest import io

from ..scope_core.families import SKYREELS
from ..scope_core.schedule import Family
from .choices import chosen
from .comfy import demo, loading, magi_vae

DEMOS: dict[str, Family] = {family.title: family for family in demo.LOADERS}


def fps_input() -> io.Input:
    return io.Combo.Input(
        "fps",
        options=["24", "16"],
        default="24",
        advanced=True,
        tooltip="Frame rate that SkyReels-V2 1.3B is told; it was made for 24. The other models ignore it.",
    )


class LoadARModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_LoadModel",
            display_name="Load AR Video Model",
            category="SCOPE",
            description=(
                "Loads a SkyReels-V2 diffusion-forcing model, MAGI-1, Helios-Base or causal Wan as a standard MODEL,"
                " ready for the SCOPE samplers. LoRA, fp8 and offload nodes work on it as on any other."
            ),
            search_aliases=[
                "skyreels",
                "magi",
                "magi-1",
                "helios",
                "diffusion forcing",
                "causal forcing",
                "longlive",
                "long video",
                "wan",
                "load diffusion model",
                "unet loader",
            ],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=loading.model_names(),
                    tooltip=(
                        "A SkyReels-V2-DF, MAGI-1 or Helios-Base file in models/diffusion_models: official (of a"
                        " sharded model choose the first file), Kijai's single files, or the diffusers layout. The"
                        " weights tell which model it is. Causal Wan: a file made by python -m workflows.convert."
                    ),
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(loading.DTYPES),
                    default="default",
                    advanced=True,
                    tooltip=(
                        "How weights are stored. default: as in the file, or what suits the GPU. The model was released"
                        " in bf16."
                    ),
                ),
                fps_input(),
                io.Combo.Input(
                    "kind",
                    options=list(loading.KINDS),
                    default="auto",
                    advanced=True,
                    optional=True,
                    tooltip=(
                        "MAGI-1 only: whether the model is distilled. auto reads it from the names of file and folders,"
                        " because the weights do not show it."
                    ),
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip=(
                        "A SkyReels-V2-DF MODEL from another loader, such as GGUF. Its weights are used, and only the"
                        " fps branch, which other loaders drop, is read from the file above."
                    ),
                ),
            ],
            outputs=[io.Model.Output(tooltip="Takes LoRA, torch.compile and offload nodes like any MODEL.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **kwargs) -> list:
        return [(path, Path(path).stat().st_mtime_ns) for path in loading.model_paths(model_name)]

    @classmethod
    def execute(cls, model_name: str, weight_dtype: str, fps: str, kind: str = "auto", model=None) -> io.NodeOutput:
        dtype = chosen("weight_dtype", weight_dtype, loading.DTYPES)
        paths = loading.model_paths(model_name)
        if model is not None:
            return io.NodeOutput(loading.complete_model(model, paths, int(fps)))
        return io.NodeOutput(loading.load_ar_model(paths, int(fps), {"dtype": dtype} if dtype else {}, kind))


class LoadDemo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_LoadDemo",
            display_name="Load SCOPE Demo",
            category="SCOPE",
            description=(
                "Small video models that ship with the pack, one in the layout of SkyReels-V2 and one in that of"
                " MAGI-1: coloured shapes in motion, 128x128. They make a video in seconds without a GPU, through the"
                " same nodes as the real models, so presets can be tried at once."
            ),
            search_aliases=["scope demo", "example model", "test model"],
            inputs=[
                io.Combo.Input(
                    "family",
                    options=list(DEMOS),
                    default=SKYREELS.title,
                    optional=True,
                    tooltip=(
                        "SkyReels-V2: up to 61 frames at once, with AR Schedule. MAGI-1: chunk by chunk, with MAGI-1"
                        " Schedule, euler, 64 steps."
                    ),
                )
            ],
            outputs=[
                io.Model.Output(tooltip="The transformer, about 4 million parameters."),
                io.Clip.Output(
                    tooltip=(
                        "Knows circle, square, triangle, star, ring, letter E, T and X; bouncing, hopping, orbiting,"
                        " swaying; seven colours; five backgrounds, plain, striped, checkered or dotted; and a second"
                        " object after 'and'. Other words are ignored."
                    )
                ),
                io.Vae.Output(tooltip="16x smaller in space, 4x in time."),
            ],
        )

    @classmethod
    def execute(cls, family: str = SKYREELS.title) -> io.NodeOutput:
        load = demo.LOADERS[chosen("family", family, DEMOS)]
        return io.NodeOutput(load(), demo.load_demo_clip(), demo.DemoVideoVAE())


class LoadMagiVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_LoadMagiVAE",
            display_name="Load MAGI-1 VAE",
            category="SCOPE",
            description=(
                "Loads the autoencoder of MAGI-1, which core's Load VAE does not know, as a standard VAE for core's VAE"
                " Decode and VAE Encode."
            ),
            search_aliases=["magi", "magi-1", "magi vae", "sand ai", "load vae", "vae loader"],
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=magi_vae.vae_names(),
                    tooltip=(
                        "ckpt/vae/diffusion_pytorch_model.safetensors of sand-ai/MAGI-1, in models/vae. Give it a name"
                        " of its own there, such as magi_1_vae.safetensors: many models have a file of the published"
                        " name."
                    ),
                )
            ],
            outputs=[
                io.Vae.Output(
                    tooltip=(
                        "16 channels, 8x smaller in space, 4x in time. It works in tiles of 256 x 256 pixels and 12"
                        " frames, so the tiled nodes give the same as VAE Decode and VAE Encode."
                    )
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, vae_name: str) -> tuple[str, int]:
        path = magi_vae.vae_path(vae_name)
        return path, Path(path).stat().st_mtime_ns

    @classmethod
    def execute(cls, vae_name: str) -> io.NodeOutput:
        return io.NodeOutput(magi_vae.load_magi_vae(magi_vae.vae_path(vae_name)))
