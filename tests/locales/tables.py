"""What ComfyUI's frontend looks up in other languages, and what is wrong with a table of translations.

A table maps an English text of the node schemas to the same in its language. English itself is the key, so a sentence
that was changed is missing until it is translated again, and its old translation is of no use any more.

Texts that the frontend never looks up have no translation: tooltips of inputs that a choice brings (those of SCOPE
Settings' methods) and the options of a choice.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCALES = HERE.parents[1] / "locales"
LANGUAGES = ("zh", "zh-TW", "ja", "ko", "de", "fr", "es", "pt-BR", "ru")
AS_IT_IS = {
    *("a", "b", "fps", "cfg", "vae", "vae_name", "clip", "tau", "ar_step", "kv_gpu_gb", "kv_chunks"),
    *("MODEL", "CLIP", "VAE", "LATENT", "IMAGE", "SAMPLER", "SIGMAS", "SCOPE_POINT", "SCOPE_RUNS"),
}
"""Names of inputs and outputs that are the same in every language."""
SYNTAX = re.compile(r"[@{}|\\]")
"""Signs that vue-i18n takes for its own."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")
PROPER = re.compile(r"[A-Za-z]+[_\d]\w*|[A-Z]{2,}\w*|[A-Z]?[a-z]+[A-Z]\w*|\w+\.(?:json|npz|safetensors)\b")
"""Values, files, models and methods, which have no translation."""
NAMED = re.compile("`(.+?)`")


def texts(node: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where in nodeDefs.json a text of a node's /object_info stands, and the text."""
    yield ("display_name",), node["display_name"]
    yield ("description",), node["description"]
    for name, options in inputs(node["input"]):
        yield ("inputs", name.replace(".", "_"), "name"), name.rpartition(".")[2]
        if "." not in name:
            yield ("inputs", name, "tooltip"), options["tooltip"]
    tooltips = node.get("output_tooltips") or [None] * len(node["output"])
    for index, (name, kind, tooltip) in enumerate(zip(node["output_name"], node["output"], tooltips)):
        if name != kind:
            yield ("outputs", str(index), "name"), name
        if tooltip:
            yield ("outputs", str(index), "tooltip"), tooltip


def inputs(groups: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of every input; of those that a choice brings with the choice's name before a dot, each once."""
    for name, (_, options) in (each for group in groups for each in groups[group].items() if group != "hidden"):
        yield name, options
        choices = [choice for choice in options.get("options", ()) if isinstance(choice, dict)]
        brought = {f"{name}.{key}": value for choice in choices for key, value in inputs(choice["inputs"])}
        yield from brought.items()


def english(info: dict[str, Any]) -> list[str]:
    """Every text to translate, in the order of the nodes."""
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
        if signs := SYNTAX.findall(translation):
            yield f"{''.join(signs)} would be read as syntax: {translation}"
        if translation and (lost := kept(text, table) - kept_in(translation, kept(text, table))):
            yield f"lacks {', '.join(sorted(lost))}: {translation}"


def kept(text: str, table: dict[str, str]) -> set[str]:
    """What a translation has to contain: numbers, proper names, and inputs by the names that they have there."""
    plain = NAMED.sub("", text) if " " in text else ""
    named = {table.get(name, name) for name in NAMED.findall(text)}
    return {*NUMBER.findall(plain), *(name.rstrip("s") for name in PROPER.findall(plain)), *named}


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
            if translation := table.get(text):
                place[path[-1]] = translation
    return found


def dumped(tree: dict[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"
