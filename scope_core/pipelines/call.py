"""What the calls of all pipelines share: the beginning, what a user is told at each step, guidance around a
transformer, and the end."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import diffusers
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.sample import Model, Run
from ..loop.trace import SegmentTrace, Trace
from ..schedule import ARSchedule, Segment, Step
from ..settings import Settings

HOOK = "scope"
UNIPC = {
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "predict_x0": True,
    "solver_type": "bh2",
    "solver_order": 2,
    "lower_order_final": True,
    "thresholding": False,
}
"""Of the schedulers that the models were released with."""


class Interrupted(Exception):  # noqa: N818  # as KeyboardInterrupt, it is no error
    """The user has set the pipeline's `_interrupt`; carries the latents so far."""

    def __init__(self, latents: Tensor):
        self.latents = latents


class Call:
    """One call of a pipeline: its arguments by name, its prompts encoded."""

    def __init__(self, pipe: Any, arguments: dict[str, Any], settings: Settings):
        """Checks the arguments as the pipeline does. Raises ValueError."""
        require_served(pipe, settings)
        self.pipe, self.arguments, self.settings = pipe, arguments, settings
        self.callback = arguments["callback_on_step_end"]
        if isinstance(self.callback, (PipelineCallback, MultiPipelineCallbacks)):
            arguments["callback_on_step_end_tensor_inputs"] = self.callback.tensor_inputs
        self.passed(pipe.check_inputs)
        pipe._guidance_scale, pipe._attention_kwargs = arguments["guidance_scale"], arguments["attention_kwargs"]
        pipe._current_timestep, pipe._interrupt = None, False
        self.device, self.dtype = pipe._execution_device, pipe.transformer.dtype
        self.batch = self.batch_size()
        """Videos, of one of each prompt."""
        self.embeds: dict[str, Tensor | None] = {"prompt_embeds": None, "negative_prompt_embeds": None}
        """Text features, which a callback may replace."""
        encoded = self.passed(
            pipe.encode_prompt,
            do_classifier_free_guidance=pipe.do_classifier_free_guidance,
            device=self.device,
            dtype=None,
        )
        for name, tensor in zip(self.embeds, encoded):
            self.embeds[name] = None if tensor is None else tensor.to(self.dtype)
        self.prompts, self.nothing = len(encoded[0]), encoded[0][:1, :1].to(self.dtype)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arguments

    def batch_size(self) -> int:
        prompt = self["prompt"]
        if prompt is None:
            return len(self["prompt_embeds"])
        return 1 if isinstance(prompt, str) else len(prompt)

    def passed(self, method: Callable, **others: Any) -> Any:
        """What a method of the pipeline returns for the arguments that it takes of this call's, and `others`."""
        known = {**self.arguments, **others}
        return method(**{name: known[name] for name in inspect.signature(method).parameters if name in known})

    def trace(self, schedule: ARSchedule) -> Trace:
        """An empty trace of the run, with the model and versions that `study.report` tells."""
        transformer = self.pipe.transformer
        name = transformer.config.get("_name_or_path") or type(transformer).__name__
        versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
        return Trace.of(schedule, self.settings, model=name, guidance=self["guidance_scale"], host=versions)

    def guided(self, around: BlockPass | None, **inputs: Any) -> tuple[Tensor, float]:
        """The transformer's output after guidance, and the forward passes that it took. `around`, where given, is
        called around every block."""
        transformer, forwards = self.pipe.transformer, 0.0

        def run(branch: str, prompt: str) -> Tensor:
            nonlocal forwards
            with transformer.cache_context(branch), hooked(transformer.blocks, around, branch):
                made = transformer(
                    encoder_hidden_states=self.embeds[prompt],
                    attention_kwargs=self["attention_kwargs"],
                    return_dict=False,
                    **inputs,
                )[0]
            forwards += 1 if around is None else around.take() / len(transformer.blocks)
            return made

        made = run("cond", "prompt_embeds")
        if self.pipe.do_classifier_free_guidance:
            without = run("uncond", "negative_prompt_embeds")
            made = without + self["guidance_scale"] * (made - without)
        return made, forwards

    def features(self, name: str, t: Tensor) -> Tensor:
        """'embedding' or 'modulation' of the transformer at timesteps [N]."""
        embedder = self.pipe.transformer.condition_embedder
        device = weights_on(embedder, self.device)
        e, e0, *_ = embedder(t.to(device), self.nothing.to(device))
        return e if name == "embedding" else e0

    def patch_embedding(self, x: Tensor) -> Tensor:
        """Patch-embedded latents [B, dim, F, h, w]."""
        embedder = self.pipe.transformer.patch_embedding
        return embedder(x.to(weights_on(embedder, x.device), self.dtype)).to(x.device)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the VAE's latents [1, C, 1, 1, 1]."""
        vae = self.pipe.vae
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(self.device, vae.dtype)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        return mean, std

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels of latents, by the pipeline's VAE."""
        mean, std = self.statistics()
        return self.pipe.vae.decode(latents.to(std) * std + mean, return_dict=False)[0]

    def finish(self) -> None:
        self.pipe._current_timestep = None
        self.pipe.maybe_free_model_hooks()


class Told:
    """What a pipeline tells its user of each step of a window: `callback_on_step_end` once it is taken; and what the
    user answers."""

    def __init__(self, call: Call, changed: Callable[[], None]):
        """`changed` is called where the user's callback has changed the latents."""
        self.call, self.changed = call, changed
        self.taken: tuple[int, Tensor] | None = None
        """Index and timestep of the step before."""

    def begin(self, x: Tensor, index: int, t: Tensor) -> Tensor:
        """Before a step: the latents, which the user may have changed after the last one. Raises Interrupted."""
        x, pipe = self.end(x), self.call.pipe
        if pipe.interrupt:
            raise Interrupted(x)
        self.taken = index, t
        pipe._current_timestep = t
        return x

    def end(self, x: Tensor) -> Tensor:
        """After a step."""
        if self.taken is None or self.call.callback is None:
            return x
        (index, t), self.taken = self.taken, None
        given = {"latents": x.clone(), **self.call.embeds}
        names = self.call["callback_on_step_end_tensor_inputs"]
        answer = self.call.callback(self.call.pipe, index, t, {name: given[name] for name in names})
        for name in self.call.embeds:
            self.call.embeds[name] = answer.pop(name, self.call.embeds[name])
        latents = answer.pop("latents", given["latents"])
        if torch.equal(latents, x):
            return x
        self.changed()
        return latents


def denoise(call: Call, run: Run, model: "Steered", segment: Segment, noise: Tensor) -> Tensor:
    """All columns of a window, from noise that has its known frames; as far as it came, if the user interrupts."""
    pipe = call.pipe
    pipe._num_timesteps = segment.rows
    model.told = told = Told(call, run.changed)
    with pipe.progress_bar(total=segment.rows) as bar:

        def on_step(segment: Segment, step: Step, x0: Tensor, trace: SegmentTrace) -> None:
            bar.update()

        try:
            return told.end(run.segment(model, segment, noise, noise, on_step=on_step))
        except Interrupted as stop:
            return stop.latents


class Steered(Model, Protocol):
    """A model whose fields tell the user of each step."""

    told: Told


class AroundBlock(ModelHook):
    """Calls a `BlockPass` around a block of a transformer."""

    def __init__(self, around: BlockPass, index: int, branch: str):
        super().__init__()
        self.around, self.index, self.branch = around, index, branch

    def new_forward(self, module: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        run: Callable = self.fn_ref.original_forward  # type: ignore[assignment]

        def block(x: Tensor) -> Tensor:
            return run(x, *args, **kwargs)

        return self.around(self.index, hidden_states, block, [(self.branch,)])


@contextmanager
def hooked(blocks: Any, around: BlockPass | None, branch: str) -> Iterator[None]:
    """`around`, where given, is called around the blocks meanwhile."""
    if around is None:
        yield
        return
    registries = [HookRegistry.check_if_exists_or_initialize(block) for block in blocks]
    try:
        for index, registry in enumerate(registries):
            registry.register_hook(AroundBlock(around, index, branch), HOOK)
        yield
    finally:
        for registry in registries:
            registry.remove_hook(HOOK, recurse=False)


def weights_on(module: Any, otherwise: torch.device) -> torch.device:
    """Where a module wants its inputs: offloading may have put its weights elsewhere, or nowhere until it runs."""
    device = next(module.parameters()).device
    return otherwise if device.type == "meta" else device


def require_served(pipe: Any, settings: Settings) -> None:
    """Raises ValueError."""
    if settings.needs_calibration:
        raise ValueError(
            f"the method {settings.method.name!r} needs numbers of a recorded run of this model; give them"
            " (Settings.calibrated), or choose another method"
        )
    if not settings.off and pipe.transformer.is_cache_enabled:
        raise ValueError(
            "the transformer has a cache of diffusers, which would skip behind this one; call"
            " pipe.transformer.disable_cache(), or give settings='off'"
        )
