"""What Raylight's workers do to the MODEL that each of them has loaded."""

from collections.abc import Callable
from typing import Any

from ...scope_core.loop.trace import Trace
from ...scope_core.settings import Settings
from .accelerate import Asked, accelerate
from .loading import complete_model
from .travelling import Travels

KEY = "scope_unprepared"
"""Attachment of a MODEL that a worker has prepared: the one before."""


class Prepare(Travels):
    """What a worker does to its MODEL: teach a model of Load AR Video Model its frames, and have others skip."""

    def __init__(self, paths: list[str], fps: int, settings: Settings | None, on_trace: Callable[[Trace], None]):
        """`paths`: files of an autoregressive model; none for any other. `settings`: of SCOPE Accelerate."""
        self.paths, self.fps, self.settings, self.on_trace = paths, fps, settings, on_trace

    def __call__(self, patcher: Any) -> Any:
        """Raises NotARVideoModelError, ModelFileError, UnsuitableError. Of a MODEL that was prepared before, the one
        before is prepared again."""
        given = patcher.get_attachment(KEY) or patcher
        made = complete_model(given, self.paths, self.fps) if self.paths else given.clone()
        if self.settings is not None:
            made = accelerate(made, Asked(self.settings, on_trace=self.on_trace))
        made.set_attachments(KEY, given)
        return made
