"""Settings as widgets: every knob that a method declares, and its operating points. The method selector is made of
them."""

from typing import Any

from comfy_api.latest import io

from ..scope_core import METHODS, Settings
from ..scope_core.methods.base import CUSTOM
from ..scope_core.methods.knobs import Knob
from ..scope_core.settings import CALIBRATED, knobs, presets, read, write

SettingsType = io.Custom("SCOPE_SETTINGS")
OURS = CALIBRATED.method.name
"""The method whose knobs the sampler itself has."""


def widget(knob: Knob) -> io.Input:
    default = knob.write(knob.default)
    shared: dict[str, Any] = {"default": default, "tooltip": knob.tooltip}
    shared |= {"advanced": True} if knob.advanced else {}
    shared |= {"optional": True} if knob.late else {}
    if knob.options is not None:
        return io.Combo.Input(knob.name, options=list(knob.options), **shared)
    if isinstance(default, bool):
        return io.Boolean.Input(knob.name, **shared)
    if knob.text:
        return io.String.Input(knob.name, **shared)
    shared |= {"display_mode": io.NumberDisplay.slider} if knob.slider else {}
    if isinstance(default, int):
        return io.Int.Input(knob.name, min=int(knob.low), max=int(knob.high), **shared)
    shared |= {"round": knob.decimals} if knob.decimals else {}
    return io.Float.Input(knob.name, min=knob.low, max=knob.high, step=knob.step, **shared)


def preset(name: str, **more: Any) -> io.Input:
    """Selector of a method's operating points; the browser moves the knobs to what it stands for."""
    method, points = METHODS[name], presets(name)
    options = [CUSTOM, *points] if method.usual_point == CUSTOM else [*points, CUSTOM]
    return io.Combo.Input(
        "preset",
        options=options,
        default=method.usual_point,
        tooltip=method.points_help,
        **more,
        extra_dict={
            "presets": {point: write(settings, name) for point, settings in points.items()},
            **({"aims": [knob.name for knob in method.aims]} if method.aims else {}),
        },
    )


def inputs(name: str) -> list[io.Input]:
    """Widgets of a method, its points first where graphs have always had them."""
    found = [widget(knob) for knob in knobs(METHODS[name])]
    return [*found, preset(name, optional=True)] if METHODS[name].points_came_later else [preset(name), *found]


def offered() -> list[str]:
    """Methods that users can choose, ours first, which is where a new node stands."""
    return sorted((name for name, method in METHODS.items() if method.offered), key=lambda name: name != OURS)


def selector() -> io.Input:
    return io.DynamicCombo.Input(
        "method",
        tooltip="Which method decides what to skip.",
        options=[io.DynamicCombo.Option(name, inputs(name)) for name in offered()],
    )


def settings_of(selected: Any) -> Settings:
    """Settings of the selector's value; the host makes None of a choice that it does not have, and whatever comes
    through it of a link. Raises ValueError for these and out of range."""
    if isinstance(selected, dict):
        return read(selected["method"], selected)
    raise ValueError(
        "method is none of the choices, or comes from another node, which cannot bring its widgets; choose one of"
        f" {', '.join(offered())} on SCOPE Settings itself"
    )


def widgets_of(settings: Settings) -> dict[str, Any] | None:
    """Positions of the sampler's own widgets that give these settings; None where they cannot express them."""
    return write(settings, OURS)


def selected(settings: Settings) -> dict[str, Any] | None:
    """Positions of the widgets of SCOPE Settings that give these settings; None where it does not offer the method."""
    name = OURS if widgets_of(settings) is not None else settings.method.name
    widgets = write(settings, name)
    if name not in offered() or widgets is None:
        return None
    point = next((point for point, known in presets(name).items() if known == settings), CUSTOM)
    return {"method": name, **{f"method.{widget}": value for widget, value in {**widgets, "preset": point}.items()}}


class ScopeSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Settings",
            display_name="SCOPE Settings",
            category="SCOPE",
            description=(
                "Speed settings on their own, for SCOPE Sampler (Advanced), or to share between samplers. Chooses the"
                " method as well."
            ),
            search_aliases=[
                "teacache",
                "easycache",
                "magcache",
                "fbcache",
                "taylorseer",
                "flowcache",
                "cache",
                "speed up",
                "accelerate",
            ],
            inputs=[selector()],
            outputs=[
                SettingsType.Output(display_name="settings", tooltip="For the `settings` input of the SCOPE samplers.")
            ],
        )

    @classmethod
    def execute(cls, method: Any = None) -> io.NodeOutput:
        return io.NodeOutput(settings_of(method))
