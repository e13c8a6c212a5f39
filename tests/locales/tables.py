"""What ComfyUI's frontend looks up in other languages, and what is wrong with a table of translations.

A table maps an English text of the node schemas to the same in its language. English itself is the key, so a sentence
that was changed is missing until it is translated again, and its old translation is of no use any more.

The frontend looks up neither the options of a choice nor the tooltips of inputs that a choice brings, those of SCOPE
Settings' methods. The pack shows them itself (`translateChoices` of web/comfy_adapter.js): an option as the value that
docs and saved files have, and what it means; tooltips by their English text, since methods share names of inputs.

What the pack's panels say has a place of its own among the languages' files, `scope` of main.json, since the frontend
knows nothing of it. There values in braces are filled in by the pack.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .panels import panel_texts

HERE = Path(__file__).parent
LOCALES = HERE.parents[1] / "locales"
LANGUAGES = ("zh", "zh-TW", "ja", "ko", "de", "fr", "es", "pt-BR", "ru")
AS_IT_IS = {
    *("a", "b", "fps", "cfg", "vae", "vae_name", "clip", "tau", "ar_step", "kv_gpu_gb", "kv_chunks"),
    *("MODEL", "CLIP", "VAE", "LATENT", "IMAGE", "SAMPLER", "SIGMAS", "SCOPE_POINT", "SCOPE_RUNS"),
}
"""Names of inputs and outputs that are the same in every language."""
OPTIONS_AS_THEY_ARE = {
    *("scope", "teacache", "taylorseer", "flowcache", "magcache", "bwcache", "fbcache", "easycache", "predit"),
    *("motioncache", "seacache", "lemica", "meancache", "dpcache", "budcache", "hicache", "arcache"),
    *("unipc", "euler", "cab", "sigma", "latent", "max"),
}
"""Options that are names of methods and solvers, or words of mathematics."""
NAMES = re.compile(r"[A-Z\d_.]")
"""What options have that are names of models, files, number formats or published points."""
SYNTAX = re.compile(r"[@{}|\\]")
"""Signs that vue-i18n takes for its own."""
PLACE = re.compile(r"\{\w+\}")
"""Where a panel fills in a value."""
COMMANDS = {"SCOPE_UnfinishedRuns": "SCOPE: Unfinished runs"}
"""Labels of commands, by their ids with an underscore for the dot."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")
PROPER = re.compile(r"[A-Za-z]+[_\d]\w*|[A-Z]{2,}\w*|[A-Z]?[a-z]+[A-Z]\w*|\w+\.(?:json|npz|safetensors)\b")
"""Values, files, models and methods, which have no translation."""
NAMED = re.compile("`(.+?)`")


def texts(node: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where in nodeDefs.json a text of a node's /object_info stands, and the text."""
    yield ("display_name",), node["display_name"]
    yield ("description",), node["description"]
    for name, options in inputs(node["input"]):
        place = ("inputs", name.replace(".", "_"))
        yield (*place, "name"), name.rpartition(".")[2]
        yield (*place, *(("tooltips", options["tooltip"]) if "." in name else ("tooltip",))), options["tooltip"]
        for value in values(options):
            if value not in OPTIONS_AS_THEY_ARE and not NAMES.search(value):
                yield (*place, "options", value), value
    tooltips = node.get("output_tooltips") or [None] * len(node["output"])
    for index, (name, kind, tooltip) in enumerate(zip(node["output_name"], node["output"], tooltips)):
        if name != kind:
            yield ("outputs", str(index), "name"), name
        if tooltip:
            yield ("outputs", str(index), "tooltip"), tooltip


def inputs(groups: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of every input; those that a choice brings have its name before a dot, once for each option."""
    for name, (_, options) in (each for group in groups for each in groups[group].items() if group != "hidden"):
        yield name, options
        for choice in options.get("options", ()):
            if isinstance(choice, dict):
                yield from ((f"{name}.{key}", value) for key, value in inputs(choice["inputs"]))


def values(options: dict[str, Any]) -> list[str]:
    """What can be chosen."""
    return [choice["key"] if isinstance(choice, dict) else str(choice) for choice in options.get("options", ())]


def english(info: dict[str, Any]) -> list[str]:
    """Every text to translate, in the order of the nodes, and then of the panels."""
    return list(dict.fromkeys([*node_texts(info), *panel_texts()]))


def node_texts(info: dict[str, Any]) -> list[str]:
    """Those of nodes, from their /object_info, each once."""
    found = dict.fromkeys(text for node in info.values() for _, text in texts(node))
    return [text for text in found if text not in AS_IT_IS]


def read(language: str) -> dict[str, str]:
    path = HERE / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def updated(table: dict[str, str], wanted: list[str]) -> dict[str, str]:
    """The table with an empty entry for each text that it lacks, and without those that nobody asks for any more."""
    return {text: table.get(text, "") for text in wanted}


def complaints(table: dict[str, str], wanted: list[str]) -> Iterator[str]:
    """What keeps a table from being whole, one sentence each."""
    for text in wanted:
        if not table.get(text):
            yield f"missing: {text}"
    for text in table.keys() - set(wanted):
        yield f"unknown, or changed since: {text}"
    for text, translation in table.items():
        if signs := SYNTAX.findall(PLACE.sub("", translation)):
            yield f"{''.join(signs)} would be read as syntax: {translation}"
        if translation and (lost := kept(text, table) - kept_in(translation, kept(text, table))):
            yield f"lacks {', '.join(sorted(lost))}: {translation}"


def kept(text: str, table: dict[str, str]) -> set[str]:
    """What a translation has to contain: numbers, proper names, places of values, and inputs by the names that they
    have there."""
    plain = NAMED.sub("", text) if " " in text else ""
    named = {table.get(name, name) for name in NAMED.findall(text)}
    return {*NUMBER.findall(plain), *(name.rstrip("s") for name in PROPER.findall(plain)), *PLACE.findall(text), *named}


def kept_in(translation: str, parts: set[str]) -> set[str]:
    return {part for part in parts if part in translation}


def node_defs(info: dict[str, Any], table: dict[str, str]) -> dict[str, Any]:
    """nodeDefs.json of a language; what is not translated is left out, so the frontend shows it in English."""
    found: dict[str, Any] = {}
    for name, node in info.items():
        for path, text in texts(node):
            place = found.setdefault(name, {})
            for part in path[:-1]:
                place = place.setdefault(part, {})
            translation = table.get(text)
            if translation and translation != text and "options" in path[2:]:
                translation = f"{text} · {translation}"
            if translation:
                place[path[-1]] = translation
    return found


def panel_words(table: dict[str, str]) -> dict[str, Any]:
    """main.json of a language: what the panels say."""
    return {"scope": {text: table[text] for text in panel_texts() if table.get(text)}}


def command_labels(table: dict[str, str]) -> dict[str, Any]:
    """commands.json of a language."""
    return {name: {"label": table[label]} for name, label in COMMANDS.items() if table.get(label)}


def files(info: dict[str, Any], table: dict[str, str]) -> dict[str, str]:
    """Every file of a language, by its name."""
    made = {"nodeDefs": node_defs(info, table), "main": panel_words(table), "commands": command_labels(table)}
    return {f"{name}.json": dumped(tree) for name, tree in made.items()}


def dumped(tree: dict[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"
