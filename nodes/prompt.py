"""MAGI-1 Prompt: text and learned special tokens as the conditioning of a MAGI-1 model."""

import torch
from comfy_api.latest import io

from .comfy import magi_text


class MagiPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_MagiPrompt",
            display_name="MAGI-1 Prompt",
            category="SCOPE",
            description=(
                "Encodes a prompt for MAGI-1 as it was trained: the text is cleaned, encoded with T5, and learned"
                " tokens for quality, length and style are put before it. They are read from special_tokens.npz in"
                " models/text_encoders, which is needed only if an option that uses it is on."
            ),
            search_aliases=["magi", "text encode", "clip text encode", "t5", "special tokens"],
            inputs=[
                io.Clip.Input("clip", tooltip="T5-v1.1-XXL (t5xxl), from Load CLIP, type pixart. Not umt5_xxl."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip=(
                        "What the video should show. It becomes lower case and loses links, brackets and CJK"
                        " characters, as in training; what is beyond 800 tokens is left out. Weights such as (word:1.2)"
                        " are read as text."
                    ),
                ),
                io.Boolean.Input(
                    "high_quality",
                    default=True,
                    tooltip="Ask for high quality with a learned token. On as published. Uses special_tokens.npz.",
                ),
                io.Boolean.Input(
                    "duration",
                    default=True,
                    tooltip="Tell each chunk how many chunks follow it. On as published. Uses special_tokens.npz.",
                ),
                io.Combo.Input(
                    "first_frames",
                    options=["any", "static", "dynamic"],
                    default="any",
                    advanced=True,
                    tooltip=(
                        "Ask for first frames that stand still or move. any: leave it to the text. Otherwise uses"
                        " special_tokens.npz."
                    ),
                ),
                io.Combo.Input(
                    "style",
                    options=["any", "3d_model", "2d_anime"],
                    default="any",
                    advanced=True,
                    tooltip=(
                        "Ask for a rendered or a drawn look. any: leave it to the text. Otherwise uses"
                        " special_tokens.npz."
                    ),
                ),
                io.Boolean.Input(
                    "borders",
                    default=False,
                    advanced=True,
                    tooltip="Ask for borders around the picture. Uses special_tokens.npz.",
                ),
                io.Boolean.Input(
                    "avoid_overlays",
                    default=False,
                    advanced=True,
                    tooltip=(
                        "Keep away from captions, logos, transitions and borders, with learned tokens before every null"
                        " caption, as the release does in base and distilled models. Uses special_tokens.npz."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive",
                    tooltip=(
                        "The prompt with its tokens, for a MAGI-1 model. It carries the tokens of `avoid_overlays` for"
                        " chunks that are shown clean, without a prompt."
                    ),
                ),
                io.Conditioning.Output(
                    display_name="negative",
                    tooltip=(
                        "The branch without text, which base models use for guidance. Its null caption comes from the"
                        " checkpoint; this carries only the tokens of `avoid_overlays`. Take it from the node that"
                        " gives `positive`."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip,
        text: str,
        high_quality: bool,
        duration: bool,
        first_frames: str,
        style: str,
        borders: bool,
        avoid_overlays: bool,
    ) -> io.NodeOutput:
        positive: dict[str, torch.Tensor | None] = {"pooled_output": None}
        negative: dict[str, torch.Tensor | None] = {"pooled_output": None}
        switches = {
            "high_quality": high_quality,
            "borders": borders,
            first_frames: first_frames != "any",
            style: style != "any",
        }
        if options := [option for option, on in switches.items() if on]:
            positive["magi_special"] = magi_text.special_tokens(options)
        if duration:
            positive["magi_duration"] = magi_text.special_tokens(["duration"])
        if avoid_overlays:
            tokens = magi_text.special_tokens(["captions", "logos", "transitions", "borders"])
            positive["magi_negative"] = negative["magi_negative"] = tokens
        return io.NodeOutput(
            [[magi_text.encode(clip, text), positive]], [[torch.zeros(1, 1, magi_text.WIDTH), negative]]
        )
