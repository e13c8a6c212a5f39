"""Examples are found by what people call them, and by what they were called."""

import pytest

from scope_core import METHODS, PRESETS, SKYREELS, Settings, plan
from workflows import __main__ as command
from workflows import examples
from workflows.graph import WorkflowError


def test_every_example_is_readable_as_a_title_and_demos_come_first():
    names = examples.names()
    assert sorted(examples.FORMER.values()) == names
    assert [name[:2] for name in names] == [f"{number:02}" for number in range(1, len(names) + 1)]
    families = [name[3:].partition(" - ")[0] for name in names]
    assert families[0] == "Demo" and all(families) and "_" not in "".join(names)
    assert len([family for family, before in zip(families, ["", *families]) if family != before]) == len(set(families))
    assert all((examples.FOLDER / f"{name}.jpg").is_file() for name in names)


@pytest.mark.parametrize("said", ["01", "01 Demo", "demo - text", "01_demo", "01_demo_text_to_video"])
def test_an_example_is_found_by_a_part_of_its_name_and_by_its_former_one(said):
    assert examples.find(said).name == "01 Demo - Text to video.json"
    assert examples.load(said)["nodes"]


def test_a_former_name_counts_where_no_present_one_fits():
    for former, name in examples.FORMER.items():
        assert examples.find(former).stem == name
    assert examples.find("09_magi").stem == "02 Demo - Chunk by chunk, as MAGI-1"


@pytest.mark.parametrize(("said", "complaint"), [("demo", "fits several"), ("opera", "There is no workflow 'opera'")])
def test_a_name_of_none_or_several_is_answered_with_those_there_are(said, complaint):
    with pytest.raises(WorkflowError, match=complaint) as raised:
        examples.find(said)
    assert "01 Demo - Text to video" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(METHODS["reduced"](steps=(1, 3))), "2 of 4 evaluations, 2.00x fewer frames computed"),
        (Settings(METHODS["delta_dit"](every=2)), "2 of 4 evaluations, 2.00x fewer frames computed"),
        (PRESETS["off"], "4 of 4 evaluations, 1.00x fewer frames computed"),
    ],
    ids=["output", "inside the network", "off"],
)
def test_the_last_line_says_how_much_of_a_run_was_computed(tmp_path, capsys, settings, said):
    """Also of a method whose skipped steps run some blocks: they are not computed, and it says that frames are."""
    trace = plan(SKYREELS.schedule(5, 4), settings, None).to_json()
    command._report({"7": {"scope_trace": [trace]}}, tmp_path)
    assert capsys.readouterr().out == f"  {said}, 0.0 s\n"


def test_the_last_line_counts_frames_that_were_left_out_of_an_evaluation(tmp_path, capsys):
    """Of two chunks of two frames the second starts two iterations later, until which only the first is forwarded."""
    schedule = SKYREELS.schedule(4, 4, block=2, ar_step=2, causal=True)
    trace = plan(schedule, Settings(METHODS["reduced"](4), selective="auto")).to_json()
    command._report({"7": {"scope_trace": [trace]}}, tmp_path)
    assert "6 of 6 evaluations, 1.20x fewer frames computed" in capsys.readouterr().out


@pytest.mark.parametrize("content", ['{"3": {"class_type": "KSampler", "inputs": {}}}', "[]", "{torn"])
def test_a_file_that_is_no_saved_workflow_is_answered(tmp_path, content):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(WorkflowError, match=r"mine.json is no workflow.*Export \(API\)"):
        examples.read(tmp_path / "mine.json")
