"""SCOPE Decode Segments: a long video as the published code decodes it."""

from comfy_api.latest import io

from .comfy import segments


class DecodeSegments(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_DecodeSegments",
            display_name="SCOPE Decode Segments",
            category="SCOPE",
            description=(
                "Decodes each segment of a long video on its own and joins the frames, as published. VAE Decode decodes"
                " the joined latents in one go instead: each segment then goes on from the decoder's memory of the one"
                " before it."
            ),
            search_aliases=["vae decode", "long video", "seams", "overlap", "video extend", "skyreels"],
            inputs=[
                io.Latent.Input(
                    "samples",
                    tooltip=(
                        "Straight from SCOPE Sampler, which keeps the segments beside the video. Any other latent is"
                        " decoded as VAE Decode does."
                    ),
                ),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                io.Image.Input(
                    "video",
                    optional=True,
                    tooltip=(
                        "The video that was continued, whose last frames went into AR Schedule as `start`: its frames"
                        " stay as they are, as published, and the new ones follow. Without it they are decoded too."
                    ),
                ),
            ],
            outputs=[io.Image.Output(tooltip="Frames of the whole video.")],
        )

    @classmethod
    def execute(cls, samples, vae, video=None) -> io.NodeOutput:
        return io.NodeOutput(segments.decode(vae, samples, video))
