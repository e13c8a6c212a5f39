"""MAGI-1's demo: runs and plans through a real server, and what its nodes show in the browser."""

import pytest
from gestures import choose, load, node_of, run, show, widget
from test_plan import ORANGE, WHITE, picture, share, text, wait_for_headline
from test_recordings import rounded_alike
from test_server import SAMPLER, latent, trace_of
from waits import wait_for_words

from workflows.graph import WorkflowError

SCHEDULE = {
    "width": 128,
    "height": 128,
    "length": 72,
    "batch_size": 1,
    "window": 4,
    "look_back": "5, 4, 3, 2",
    "short_cut": "8,16,16",
    "kv_gpu_gb": 8.0,
}
SCOPE_NODE = node_of("SCOPE_Sampler", "SCOPE")
SCHEDULE_NODE = node_of("SCOPE_MagiSchedule")


def prompt(name: str, schedule: dict | None = None, **sampler) -> dict:
    """The demo model to a saved latent and a timeline, in the API format; old graphs do not say `joint`."""
    return {
        "demo": {"class_type": "SCOPE_LoadDemo", "inputs": {"family": "MAGI-1"}},
        "positive": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["demo", 1], "text": "a red circle bouncing on a navy background"},
        },
        "schedule": {"class_type": "SCOPE_MagiSchedule", "inputs": {**SCHEDULE, **(schedule or {})}},
        "sampler": {
            "class_type": "SCOPE_Sampler",
            "inputs": {
                **SAMPLER,
                "steps": 16,
                "cfg": 1.0,
                "shift": 3.0,
                "solver": "euler",
                "model": ["demo", 0],
                "positive": ["positive", 0],
                "negative": ["positive", 0],
                "latent": ["schedule", 1],
                "schedule": ["schedule", 0],
                **sampler,
            },
        },
        "timeline": {"class_type": "SCOPE_Timeline", "inputs": {"trace": ["sampler", 1]}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": name}},
    }


def ask(server, node: str, graph: dict) -> dict:
    return server.request("POST", "/scope/plan", {"node": node, "prompt": graph})[1]


@pytest.mark.parametrize(
    "sampler, schedule",
    [
        ({}, {}),
        ({"preset": "fast"}, {"window": 2}),
        ({"preset": "quality", "steps": 12}, {"look_back": "all"}),
        ({"preset": "custom", "joint": True}, {}),
    ],
    ids=["balanced", "fast", "quality", "joint"],
)
def test_the_plan_is_the_run_step_by_step(host, server, sampler, schedule):
    graph = prompt("magi_planned", schedule, **sampler)
    planned = ask(server, "sampler", graph)
    assert planned["exact"], planned
    (made,), (expected,) = trace_of(server.run(graph))["segments"], planned["trace"]["segments"]
    ran, told = ([{**step, "seconds": 0} for step in segment["steps"]] for segment in (made, expected))
    assert (rounded_alike(ran, told) if host.has_accelerator else ran) == told
    assert made["by_chunk"] and len(made["units"]) == 3
    assert ask(server, "schedule", graph)["trace"]["segments"] == [expected]


def test_evaluations_are_counted_by_chunk(server):
    totals = trace_of(server.run(prompt("magi_off", preset="off")))["totals"]
    assert totals["computed"] == totals["iterations"] == 3 * 16 and "SCOPE is off" in totals["skipped_reason"]
    totals = trace_of(server.run(prompt("magi_on")))["totals"]
    assert 0 < totals["computed"] < totals["iterations"] == 3 * 16


@pytest.mark.parametrize(
    "frames, chunks", [(1, 4), (25, 3), (33, 3)], ids=["an image", "a chunk and a frame", "a chunk and three frames"]
)
def test_a_video_starts_from_known_frames(server, output, frames, chunks):
    """Whole known chunks take no steps and stay as they are; the plan knows them once they were made."""
    name = f"magi_from_{frames}"
    graph = prompt(name, {"length": 96, "start": ["first", 0]})
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 128, "height": 128, "batch_size": frames, "color": 0x203060},
    }
    graph["first"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["demo", 2]}}
    graph["first_saved"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["first", 0], "filename_prefix": f"first_of_{name}"},
    }
    trace = trace_of(server.run(graph))
    made, first = latent(output, name), latent(output, f"first_of_{name}")
    whole = first.shape[2] // 6 * 6
    assert (
        made.shape[2] == 24 and len(trace["segments"][0]["units"]) == chunks and trace["segments"][0]["prefix"] == whole
    )
    assert whole == 0 or abs(made[:, :, :whole] - first[:, :, :whole]).max() < 1e-5
    planned = ask(server, "sampler", graph)
    assert planned["exact"] and planned["trace"]["segments"][0]["units"] == trace["segments"][0]["units"]


def test_the_length_is_rounded_and_said_why(server):
    planned = ask(server, "schedule", prompt("magi_rounded", {"length": 61}))
    assert "61 frames became 72: a chunk has 24" in planned["note"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"schedule": {"window": 3}}, ["16 steps", "window of 3 chunks", "1, 2, 4, 8"]),
        ({"steps": 10, "schedule": {"window": 2}}, ["10 steps", "4 parts"]),
        ({"schedule": {"length": 24, "start": ["first", 0]}}, ["the known start has 7", "the video 6"]),
        ({"model": ["other", 0]}, ["from MAGI-1 Schedule", "unrolled by AR Schedule"]),
        ({"schedule": {"kv_gpu_gb": float("nan")}}, ["kv_gpu_gb is nan", "0 to 512"]),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(server, change, words):
    change = dict(change)
    graph = prompt("magi_bad", change.pop("schedule", {}), **change)
    graph["other"] = {"class_type": "SCOPE_LoadDemo", "inputs": {}}
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 128, "height": 128, "batch_size": 25, "color": 0x203060},
    }
    graph["first"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["demo", 2]}}
    with pytest.raises(WorkflowError) as error:
        server.run(graph)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.fixture
def demo(page):
    load(page, "09_magi_demo")
    show(page, SCOPE_NODE)
    wait_for_headline(page, SCOPE_NODE, "of 256 chunk evaluations")
    return page


@pytest.mark.two_cells
def test_the_plan_counts_chunks_and_the_schedule_draws_its_staircase(demo):
    page = demo
    headline = text(page, SCOPE_NODE, "headline")
    assert headline.startswith("Plan: ") and headline.endswith("x fewer") and text(page, SCOPE_NODE, "badge") == "exact"
    drawn = picture(page, SCOPE_NODE, "magi_sampler")
    assert min(share(drawn, colour) for colour in (ORANGE, WHITE)) > 0.002
    show(page, SCHEDULE_NODE)
    assert text(page, SCHEDULE_NODE, "headline") == headline
    staircase = picture(page, SCHEDULE_NODE, "magi_schedule")
    assert min(share(staircase, colour) for colour in (ORANGE, WHITE)) > 0.002
    choose(page, "length", 120, SCHEDULE_NODE)
    for node in (SCHEDULE_NODE, SCOPE_NODE):
        wait_for_headline(page, node, "of 320 chunk evaluations")
    assert widget(page, SCHEDULE_NODE, "length") == 120


@pytest.mark.two_cells
def test_joint_moves_the_preset_and_a_preset_moves_joint(demo):
    page = demo
    headline = text(page, SCOPE_NODE, "headline")
    choose(page, "joint", True, SCOPE_NODE)
    assert widget(page, SCOPE_NODE, "preset") == "custom" and text(page, SCOPE_NODE, "headline") != headline
    choose(page, "preset", "paper_magi_fast", SCOPE_NODE)
    assert [widget(page, SCOPE_NODE, name) for name in ("joint", "signal", "cache_threshold", "predict_threshold")] == [
        False,
        "latent",
        0.03,
        0.08,
    ]


@pytest.mark.two_cells
def test_a_run_is_its_plan_and_its_timeline_has_a_row_for_each_chunk(demo):
    page = demo
    for title in ("Baseline", "SCOPE"):
        choose(page, "steps", 16, node_of("SCOPE_Sampler", title))
    wait_for_headline(page, SCOPE_NODE, "of 64 chunk evaluations")
    planned = text(page, SCOPE_NODE, "headline").removeprefix("Plan: ")
    run(page)
    show(page, node_of("SCOPE_Timeline"))
    timeline = page.locator(".scope-timeline").first
    assert timeline.locator(".scope-timeline-evaluations").text_content() == planned
    plot, details = timeline.locator(".scope-plot"), timeline.locator(".scope-timeline-details").element_handle()
    plot.focus()
    page.keyboard.press("End")
    wait_for_words(page, details, "Iteration 28 of 28")
    assert all(
        words in details.inner_text()
        for words in ("Iteration 28 of 28", "chunk 1 of 4 (latent frames 0–5).", "Finished at iteration 16.")
    )
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    wait_for_words(page, details, "chunk 4 of 4")
    assert all(words in details.inner_text() for words in ("chunk 4 of 4 (latent frames 18–23).", "Step 16 of 16"))
    page.keyboard.press("Escape")
    page.shot("magi_timeline", timeline)
    assert not [problem for problem in page.problems if "scope" in problem.lower()]
