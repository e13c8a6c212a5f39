"""The tables of translations: what is found to be wrong with one, and that none has any of it."""

import re
from pathlib import Path

import pytest

from tests.locales.tables import LANGUAGES, complaints, node_defs, node_texts, read, updated

PACK = Path(__file__).parents[2]
INFO = {
    "SCOPE_Toy": {
        "display_name": "Toy",
        "description": "Plays 3 of `steps`.",
        "input": {
            "required": {
                "steps": ["INT", {"tooltip": "How many: 2.5 for MAGI-1."}],
                "order": [
                    "COMBO",
                    {"tooltip": "Which.", "options": ["slow", "linear", "euler", "fp16", "My model", "a.pt"]},
                ],
                "method": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "tooltip": "Which.",
                        "options": [
                            {
                                "key": "teacache",
                                "inputs": {
                                    "required": {
                                        "speed": ["COMBO", {"tooltip": "Of one.", "options": ["slow", "none"]}]
                                    }
                                },
                            },
                            {
                                "key": "planned",
                                "inputs": {
                                    "optional": {
                                        "speed": ["COMBO", {"tooltip": "Of two.", "options": ["none", "high"]}]
                                    }
                                },
                            },
                        ],
                    },
                ],
            },
            "hidden": {"unique_id": ["UNIQUE_ID", {}]},
        },
        "output": ["MODEL", "SCOPE_TRACE"],
        "output_name": ["MODEL", "trace"],
        "output_tooltips": [None, "For looking."],
    }
}
WHOLE = {
    "Toy": "Spielzeug",
    "Plays 3 of `steps`.": "Spielt 3 von „Schritte“.",
    "steps": "Schritte",
    "How many: 2.5 for MAGI-1.": "Wie viele: 2.5 bei MAGI-1.",
    "order": "Ordnung",
    "Which.": "Welche.",
    "slow": "langsam",
    "linear": "linear",
    "method": "Methode",
    "planned": "geplant",
    "speed": "Tempo",
    "Of one.": "Von einem.",
    "none": "keins",
    "Of two.": "Von zweien.",
    "high": "hoch",
    "trace": "Spur",
    "For looking.": "Zum Ansehen.",
}


def test_a_whole_table_gives_what_the_frontend_looks_up():
    assert node_texts(INFO) == list(WHOLE) and not list(complaints(WHOLE, node_texts(INFO)))
    assert node_defs(INFO, WHOLE) == {
        "SCOPE_Toy": {
            "display_name": "Spielzeug",
            "description": "Spielt 3 von „Schritte“.",
            "inputs": {
                "steps": {"name": "Schritte", "tooltip": "Wie viele: 2.5 bei MAGI-1."},
                "order": {
                    "name": "Ordnung",
                    "tooltip": "Welche.",
                    "options": {"slow": "slow · langsam", "linear": "linear"},
                },
                "method": {"name": "Methode", "tooltip": "Welche.", "options": {"planned": "planned · geplant"}},
                "method_speed": {
                    "name": "Tempo",
                    "tooltips": {"Of one.": "Von einem.", "Of two.": "Von zweien."},
                    "options": {"slow": "slow · langsam", "none": "none · keins", "high": "high · hoch"},
                },
            },
            "outputs": {"1": {"name": "Spur", "tooltip": "Zum Ansehen."}},
        }
    }


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"Toy": ""}, "missing: Toy"),
        ({"high": ""}, "missing: high"),
        ({"low": "niedrig"}, "unknown, or changed since: low"),
        ({"Old words": "Alte Worte"}, "unknown, or changed since: Old words"),
        ({"Which.": "Welche @:das"}, "@ would be read as syntax: Welche @:das"),
        ({"How many: 2.5 for MAGI-1.": "Wie viele: 2 bei MAGI-1."}, "lacks 2.5: Wie viele: 2 bei MAGI-1."),
        ({"How many: 2.5 for MAGI-1.": "Wie viele: 2.5."}, "lacks 1, MAGI: Wie viele: 2.5."),
        ({"Plays 3 of `steps`.": "Spielt 3 von steps."}, "lacks Schritte: Spielt 3 von steps."),
    ],
)
def test_what_is_wrong_with_a_table_is_said(change, complaint):
    assert list(complaints(WHOLE | change, node_texts(INFO))) == [complaint]


def test_updating_keeps_what_is_translated_and_asks_for_the_rest():
    table = updated({"Toy": "Spielzeug", "Old words": "Alte Worte"}, node_texts(INFO))
    assert table == {**dict.fromkeys(WHOLE, ""), "Toy": "Spielzeug"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tables_hold_the_same_texts_and_every_number(language):
    assert list(read(language)) == list(read("zh")) and not list(complaints(read(language), list(read("zh"))))


@pytest.mark.parametrize("path", sorted((PACK / "web" / "docs").glob("*/*.md")), ids=lambda path: path.parent.name)
def test_a_translated_help_page_uses_the_names_of_its_table(path):
    table, page = read(path.stem), path.read_text(encoding="utf-8")
    source = path.parent.with_suffix(".md")
    title = source.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    assert page.startswith(f"# {table[title]}\n")
    inputs = "、".join(re.findall(r"^- \*\*(.+?)\*\*[：（]", page, re.MULTILINE))
    named = re.findall(r"([^`、 ][^`、]*?) `(\w+)`", inputs)
    assert named
    assert not [(label, name) for label, name in named if table.get(name, name) != label]


def test_what_the_host_reads_is_shipped():
    left_out = (PACK / ".comfyignore").read_text().split()
    assert not {"web/", "workflows/", "locales/", "subgraphs/", "nodes/", "scope_core/"} & set(left_out)
    assert all((PACK / folder).is_dir() for folder in ("web", "workflows", "locales", "subgraphs"))
