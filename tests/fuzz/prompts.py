"""Graphs of our nodes under random widgets and links."""

from random import Random

from cases import ODD_NUMBERS, draw


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


SAMPLING = {"model": ["demo", 0], "positive": ["positive", 0], "negative": ["negative", 0], "seed": 5, "steps": 4}
SAMPLING |= {"cfg": 2.5, "shift": 8.0, "latent": ["schedule", 1], "schedule": ["schedule", 0], "solver": "unipc"}
SIZE = {"width": 64, "height": 64, "length": 13, "batch_size": 1}
GRAPH = {
    "demo": node("SCOPE_LoadDemo"),
    "positive": node("CLIPTextEncode", clip=["demo", 1], text="a red circle bouncing on a navy background"),
    "negative": node("CLIPTextEncode", clip=["demo", 1], text=""),
    "magi prompt": node("SCOPE_MagiPrompt", clip=["demo", 1], text="a cat", high_quality=False, duration=False),
    "schedule": node("SCOPE_ARSchedule", **SIZE, window=61, overlap=5, chunk=1, ar_step=0, causal=False),
    "chunks": node("SCOPE_MagiSchedule", **SIZE | {"length": 24}, window=2, look_back="5, 4, 3, 2"),
    "settings": node("SCOPE_Settings", method="teacache"),
    "sampler": node("SCOPE_Sampler", **SAMPLING),
    "calibrate": node("SCOPE_Calibrate", **SAMPLING, method="scope", speed=2.0),
    "sweep": node("SCOPE_Sweep", **SAMPLING, spread=1),
    "chart": node("SCOPE_TradeoffChart", runs=["sweep", 0]),
    "select": node("SCOPE_SamplerSelect", schedule=["schedule", 0], preset="fast", solver="unipc", report_name="fuzz"),
    "noise": node("RandomNoise", noise_seed=4),
    "guider": node("CFGGuider", model=["demo", 0], positive=["positive", 0], negative=["negative", 0], cfg=2.5),
    "sigmas": node("BasicScheduler", model=["demo", 0], scheduler="simple", steps=4, denoise=1.0),
    "custom": node(
        "SamplerCustomAdvanced",
        noise=["noise", 0],
        guider=["guider", 0],
        sampler=["select", 0],
        sigmas=["sigmas", 0],
        latent_image=["schedule", 1],
    ),
    "images": node("VAEDecode", samples=["sampler", 0], vae=["demo", 2]),
    "timeline": node("SCOPE_Timeline", trace=["sampler", 1]),
    "opened": node("SCOPE_Timeline", report_name="fuzz", after=["custom", 0]),
    "quality": node("SCOPE_Quality", baseline=["images", 0], candidate=["images", 0], fps=24.0),
    "compare": node("SCOPE_Compare", a=["images", 0], b=["images", 0], label_a="A", label_b="B", fps=24.0),
    "report": node("SCOPE_SaveReport", trace=["sampler", 1], quality=["quality", 0], filename_prefix="fuzz"),
    "save": node("SaveLatent", samples=["sampler", 0], filename_prefix="fuzz"),
}
SHOWN = {
    "sampler": ("save", "timeline"),
    "custom": ("opened",),
    "calibrate": ("calibrate",),
    "sweep": ("chart",),
    "judged": ("quality", "compare", "report"),
    "prompted": ("save", "timeline"),
    "magi": ("save", "timeline"),
    "magi custom": ("opened",),
}
"""Kinds of graphs by their outputs."""
DIFFERS = {
    "magi": {"demo.family": "MAGI-1", "sampler.schedule": ["chunks", 0], "sampler.latent": ["chunks", 1]},
    "magi custom": {"demo.family": "MAGI-1", "select.schedule": ["chunks", 0], "custom.latent_image": ["chunks", 1]},
    "prompted": {"sampler.settings": ["settings", 0]},
}
"""What differs from GRAPH in some of them."""
SOURCES = {
    "square": node("EmptyImage", width=64, height=64, batch_size=1, color=0x203060),
    "odd picture": node("EmptyImage", width=70, height=33, batch_size=3, color=0xFFFFFF),
    "dot": node("EmptyImage", width=1, height=1, batch_size=1, color=0),
    "clip of 5": node("EmptyImage", width=64, height=64, batch_size=5, color=0x803020),
    "known": node("VAEEncode", pixels=["square", 0], vae=["demo", 2]),
    "known 5": node("VAEEncode", pixels=["clip of 5", 0], vae=["demo", 2]),
    "known odd": node("VAEEncode", pixels=["odd picture", 0], vae=["demo", 2]),
    "video": node("CreateVideo", images=["clip of 5", 0], fps=7.0),
    "audio": node("EmptyLatentAudio", seconds=1.0, batch_size=1),
    "picture latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "video latent": node("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1),
    "masked": node("SetLatentNoiseMask", samples=["schedule", 1], mask=["mask", 0]),
    "mask": node("SolidMask", value=1.0, width=8, height=8),
    "cut": node("LatentCut", samples=["known 5", 0], dim="t", index=0, amount=1),
    "two": node("RepeatLatentBatch", samples=["known", 0], amount=2),
    "discrete": node("ModelSamplingDiscrete", model=["demo", 0], sampling="eps", zsnr=False),
    "shifted": node("ModelSamplingSD3", model=["demo", 0], shift=3.0),
    "easy": node(
        "EasyCache", model=["demo", 0], reuse_threshold=0.2, start_percent=0.15, end_percent=0.95, verbose=False
    ),
    "rescaled": node("RescaleCFG", model=["demo", 0], multiplier=0.7),
    "nothing": node("ConditioningZeroOut", conditioning=["positive", 0]),
    "late": node("ConditioningSetTimestepRange", conditioning=["positive", 0], start=0.5, end=1.0),
    "both": node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["nothing", 0]),
    "turned": node("FlipSigmas", sigmas=["sigmas", 0]),
    "typed": node("ManualSigmas", sigmas="1, 0.5, 0"),
    "half": node("SplitSigmas", sigmas=["sigmas", 0], step=2),
    "beta": node("BetaSamplingScheduler", model=["demo", 0], steps=5, alpha=0.6, beta=0.6),
    "no noise": node("DisableNoise"),
    "number": node("PrimitiveInt", value=3),
    "fraction": node("PrimitiveFloat", value=0.5),
}
"""Core's nodes whose outputs are of the right type and odd, or of the wrong one."""
SMALL = {
    "width": (32, 48, 64, 33, 40, 70),
    "height": (32, 48, 64, 34, 56),
    "length": (1, 4, 5, 13, 17, 24, 29, 48),
    "window": (1, 2, 4, 5, 9, 13, 21, 12),
    "overlap": (1, 5, 9, 13, 4),
    "batch_size": (1, 2),
    "steps": (2, 3, 4, 6, 8, 12),
    "seed": (0, 2**63, 2**64 - 1),
    "noise_seed": (0, 2**64 - 1),
    "spread": (0, 1, 2),
    "report_name": ("", "a/b", "..", "../x", "a" * 300, "\\0", "C:x"),
    "filename_prefix": ("", "../x", "a/b", "%year%", "/tmp/x"),
    "text": ("", "(red:", "https://a.b/c", "a" * 4000),
    "method.steps": ("", "1, 3", "0", "one", "-1"),
    "method.computed": (1, 4, 30),
}
"""Values of widgets that would make a run long, or that are not numbers."""


def graph_of(case: dict) -> dict:
    """The whole prompt of a case."""
    kind = case.get("graph", "sampler")
    changes = DIFFERS.get(kind, {}) | {name: value for name, value in case.items() if "." in name}
    graph = {name: {**made, "inputs": dict(made["inputs"])} for name, made in (GRAPH | SOURCES).items()}
    for name, value in changes.items():
        changed, _, widget = name.partition(".")
        graph[changed]["inputs"][widget] = value
    wanted, reached = list(SHOWN[kind]), {}
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached[name] = graph[name]
            wanted += [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
    return reached


def complete(graph: dict, info: dict) -> dict:
    """The widgets that nothing was said about stand at their defaults."""
    for made in graph.values():
        if made["class_type"].startswith("SCOPE_"):
            made["inputs"] = defaults(info[made["class_type"]]["input"], made["inputs"], "") | made["inputs"]
    return graph


def specs(inputs: dict, given: dict, prefix: str):
    """Name, kind and options of every input, those of the chosen option of a dynamic combo included."""
    for short, (kind, options) in {**inputs.get("required", {}), **inputs.get("optional", {})}.items():
        yield prefix + short, kind, options
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = next((o for o in options["options"] if o["key"] == given.get(prefix + short)), None)
            yield from specs(chosen["inputs"], given, f"{prefix}{short}.") if chosen else ()


def defaults(inputs: dict, given: dict, prefix: str) -> dict:
    found = {}
    for name, kind, options in specs(inputs, given, prefix):
        if kind == "COMBO":
            found[name] = options.get("default", options["options"][0] if options["options"] else "none.safetensors")
        elif "default" in options:
            found[name] = options["default"]
    return found


def case_of(seed: int, info: dict) -> dict:
    random = Random(seed)
    case = {"graph": random.choice(list(SHOWN))}
    methods = [option["key"] for option in info["SCOPE_Settings"]["input"]["required"]["method"][1]["options"]]
    if case["graph"] == "prompted":
        case["settings.method"] = random.choice(methods)
    fields = {}
    for name, made in graph_of(case).items():
        if made["class_type"].startswith("SCOPE_"):
            for widget, kind, options in specs(info[made["class_type"]]["input"], made["inputs"], ""):
                fields[f"{name}.{widget}"] = values_of(widget, kind, options, info, random)
    links = {name: values for name, values in fields.items() if isinstance(values[0], list)}
    widgets = {name: values for name, values in fields.items() if name not in links}
    return case | draw(random, widgets, 4) | draw(random, links, 2)


def values_of(name: str, kind: str, options: dict, info: dict, random: Random) -> list:
    """What an input may be given: three in four are what it is made for."""
    if name in SMALL:
        return list(SMALL[name])
    if kind == "COMBO":
        return [*options["options"] * 3, "nonsense", ["demo", 0]]
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return [options["options"][0]["key"], "nonsense"]
    if kind == "BOOLEAN":
        return [True, False, "yes"]
    if kind in ("INT", "FLOAT"):
        low, high = options["min"], options["max"]
        usual = [low, high, options["default"]]
        usual += [type(low)(low + (min(high, 12) - low) * random.random()) for _ in range(3)]
        return [*usual * 3, *ODD_NUMBERS, "three", ["number", 0], ["fraction", 0]]
    if kind == "STRING":
        return ["", "x", "../x", "é" * 200]
    return links_of(kind, info, random)


def links_of(kind: str, info: dict, random: Random) -> list:
    """Outputs of the type that an input wants, and one of another type."""
    outputs = [
        ([name, slot], output)
        for name, made in (GRAPH | SOURCES).items()
        for slot, output in enumerate(info[made["class_type"]]["output"])
    ]
    fitting = [link for link, output in outputs if output in kind.split(",")]
    return [*(fitting * 2), random.choice([link for link, _ in outputs])]
