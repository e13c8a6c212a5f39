"""Saved graphs as prompts: widgets that are changed by name, and what a server cannot run."""

import json
import sys
from pathlib import Path

import pytest

from workflows import __main__ as command
from workflows import examples, vbench
from workflows.graph import WorkflowError, set_widget, to_prompt

BLUEPRINTS = Path(__file__).parents[2] / "subgraphs"


@pytest.fixture
def prompt():
    return {
        key: {"class_type": kind, "inputs": {"steps": 20, "model": ["9", 0]}, "_meta": {"title": title}}
        for key, kind, title in (
            ("5", "SCOPE_Sampler", "Baseline"),
            ("7", "SCOPE_Sampler", "SCOPE"),
            ("8", "KSampler", "Twin"),
            ("11", "BasicScheduler", "Twin"),
        )
    }


@pytest.mark.parametrize(("name", "key"), [("7", "7"), ("SCOPE", "7"), ("KSampler", "8"), ("11", "11")])
def test_a_widget_is_changed_by_what_names_one_node_alone(prompt, name, key):
    set_widget(f"{name}.steps=4", prompt)
    assert {at for at, node in prompt.items() if node["inputs"]["steps"] == 4} == {key}


@pytest.mark.parametrize(
    ("name", "choice"),
    [("SCOPE_Sampler", "5.steps of Baseline\n  7.steps of SCOPE"), ("Twin", "8.steps of Twin\n  11.steps of Twin")],
)
def test_a_name_that_several_nodes_have_is_answered_with_their_ids(prompt, name, choice):
    before = json.dumps(prompt)
    with pytest.raises(WorkflowError) as raised:
        set_widget(f"{name}.steps=4", prompt)
    assert str(raised.value) == f"{name}.steps fits several nodes. Choose one by its id:\n  {choice}"
    assert json.dumps(prompt) == before


def test_a_widget_that_is_not_there_is_answered_with_those_that_are(prompt):
    with pytest.raises(WorkflowError, match=r"no widget SCOPE.step. There are:\n  Baseline.steps\n"):
        set_widget("SCOPE.step=4", prompt)


@pytest.mark.parametrize("file", sorted(BLUEPRINTS.glob("*.json")), ids=lambda file: file.stem)
def test_a_subgraph_is_not_taken_for_a_missing_pack(file):
    with pytest.raises(WorkflowError, match=rf"^{file.stem}: subgraphs .*Unpack Subgraph"):
        to_prompt(examples.read(file), {})


def test_a_node_of_a_missing_pack_is_named():
    with pytest.raises(WorkflowError, match="no node of type SCOPE_Sampler. A pack is missing"):
        to_prompt({"nodes": [{"id": 1, "type": "SCOPE_Sampler"}], "links": []}, {})


@pytest.mark.parametrize("number", ["0", "-2"])
@pytest.mark.parametrize(
    ("main", "option"), [(command.main, "--workers"), (vbench.main, "--samples"), (vbench.main, "--limit")]
)
def test_a_number_of_nothing_is_refused(monkeypatch, capsys, main, option, number):
    monkeypatch.setattr(sys, "argv", ["workflows", option, number])
    with pytest.raises(SystemExit):
        main()
    assert f"argument {option}: {number} is too few; give 1 or more" in capsys.readouterr().err
