"""Plans that a browser asks for: nothing waits for a large one, and whatever a graph holds is planned or answered."""

import asyncio
import itertools
import json
import random
from pathlib import Path
from threading import Event

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from scope_pack.nodes import planning
from scope_pack.nodes.comfy import routes
from scope_pack.nodes.comfy.graph import Graph, GraphError
from scope_pack.nodes.comfy.sampling import warnings
from scope_pack.nodes.magi import MagiScheduleNode
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.schedule import ARScheduleNode
from scope_pack.scope_core import METHODS, SKYREELS, Settings
from scope_pack.scope_core.schedule import ScheduleError
from scope_pack.scope_core.signals.maps import SignalMaps

KNOWN = SignalMaps(Path("nowhere"))
SAMPLER = {"steps": 50, "shift": 8.0, "cfg": 6.0, "preset": "custom", "signal": "sigma"}


def graph(sampler: dict, schedule: dict | None = None, kind: str = "SCOPE_Sampler", of="SCOPE_ARSchedule") -> Graph:
    links = {"schedule": ["schedule", 0], "latent": ["schedule", 1]}
    return Graph.of(
        {
            "sampler": {"class_type": kind, "inputs": {**SAMPLER, **links, **sampler}},
            "schedule": {"class_type": of, "inputs": schedule or {}},
        }
    )


def serve(plan, ask):
    """What `ask(post)` gives, with a server whose plans are those of `plan`; `post(body)` gives status and JSON."""

    async def run():
        app = web.Application()
        app.router.add_post("/plan", routes.planning(plan))
        async with TestServer(app) as server, ClientSession() as session:

            async def post(body):
                async with session.post(server.make_url("/plan"), data=body) as answer:
                    return answer.status, await answer.json()

            return await asyncio.wait_for(ask(post), 300)

    return asyncio.run(run())


def request(node: str) -> bytes:
    return json.dumps({"node": node, "prompt": {}}).encode()


def test_a_plan_that_takes_long_holds_up_no_other():
    begun, free = Event(), Event()

    def plan(node, graph, known):
        if node == "large":
            begun.set()
            free.wait(300)
        return {"node": node}

    async def ask(post):
        large = asyncio.create_task(post(request("large")))
        await asyncio.to_thread(begun.wait, 300)
        small = await post(request("small"))
        assert not large.done()
        free.set()
        return small, await large

    try:
        assert serve(plan, ask) == ((200, {"node": "small"}), (200, {"node": "large"}))
    finally:
        free.set()


def test_what_fails_in_a_plan_is_told_in_json_too(caplog):
    """The browser shows the sentence that comes with any status."""

    def plan(node, graph, known):
        raise ZeroDivisionError("integer division or modulo by zero")

    status, answer = serve(plan, lambda post: post(request("a")))
    assert status == 500 and "ZeroDivisionError" in answer["error"] and "log" in answer["error"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "JSON"),
        (b"{", 'a plan needs {"node": id, "prompt": graph} in JSON'),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "too deep"),
        (b'{"node": "a", "prompt": {"a": 3}}', "class_type and inputs"),
        (b'{"node": "a", "prompt": {}}', "connect another one"),
        (b'{"node": "a", "prompt": {"a": {"class_type": "KSampler", "inputs": {}}}}', "choose one of SCOPE_Sampler"),
    ],
)
def test_a_request_that_is_none_is_answered(body, words):
    status, answer = serve(plan_node, lambda post: post(body))
    assert status == 400 and words in answer["error"], answer


def test_a_graph_that_goes_in_circles_is_answered():
    circle = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["lora", 0]}}
    graph = Graph.of({"lora": circle, "sampler": {"class_type": "SCOPE_Sampler", "inputs": {"model": ["lora", 0]}}})
    with pytest.raises(GraphError, match="in circles at node 'lora'; remove a link"):
        graph.identity("sampler", "model")


def test_every_schedule_that_the_node_accepts_is_made_or_refused_in_words():
    """All of them, and the plan of some."""
    random.seed(0)
    made = refused = 0
    names = ("length", "window", "overlap", "chunk", "ar_step", "causal")
    for values in itertools.product(
        (1, 2, 5, 13, 29, 61, 97, 98, 257), (5, 6, 13, 61, 121, 1025), (1, 5, 13, 16, 61, 121, 513), (1, 2, 7, 31, 256),
        (0, 1, 5, 100), (False, True),
    ):  # fmt: skip
        widgets = {**dict(zip(names, values)), "condition_noise": 20.0, "width": 128, "height": 128}
        try:
            unrolling, frames = ARScheduleNode.unroll(widgets, None, None)
            schedule = unrolling.schedule(frames, max(widgets["ar_step"], 2))
            assert schedule.segments[-1].start + schedule.segments[-1].frames == frames
            made += 1
        except ScheduleError:
            refused += 1
        if random.random() < 0.01:
            assert plan_or_sentence({"steps": 8}, widgets)
    assert made > 2000 and refused > 2000


def plan_or_sentence(sampler: dict, schedule: dict, of: str = "SCOPE_ARSchedule") -> bool:
    try:
        plan = plan_node("sampler", graph(sampler, schedule, of=of), KNOWN)
        return plan["trace"]["totals"]["iterations"] > 0
    except ValueError as error:
        return len(str(error)) > 30


def test_every_magi_schedule_that_the_node_accepts_is_made_or_refused_in_words():
    for length, window, reach, cut, kept, steps in itertools.product(
        (24, 25, 96, 8184), (1, 2, 3, 4, 12, 64), ("5, 4, 3, 2", "all"), ("8,16,16", "16,16,8"), (0, 5), (2, 12, 16, 64)
    ):
        widgets = {"length": length, "window": window, "look_back": reach, "short_cut": cut, "kv_chunks": kept}
        try:
            unrolling, frames = MagiScheduleNode.unroll({**widgets, "kv_gpu_gb": 8.0}, None, None)
            unrolling.schedule(frames, steps)
        except ScheduleError:
            continue
        if length < 100:
            assert plan_or_sentence({"steps": steps}, widgets, "SCOPE_MagiSchedule")


def test_a_sweep_that_is_too_large_to_be_planned_whole_says_so():
    schedule = {"length": 257, "window": 257, "chunk": 1, "ar_step": 1}
    sweep = graph({"steps": 1000, "spread": 12}, schedule, "SCOPE_Sweep")
    answer = plan_node("sampler", sweep, KNOWN)
    points = len(answer["points"])
    assert 2 <= points < 13 and answer["points"][0]["baseline"]
    assert f"Only the first {points} of 13 runs are planned" in answer["note"] and "sweep itself" in answer["note"]
    assert points * 65 * 1064 <= planning.MOST_OF_SWEEP
    usual = plan_node("sampler", graph({"spread": 12}, {**schedule, "ar_step": 0}, "SCOPE_Sweep"), KNOWN)
    assert len(usual["points"]) == 13 and "Only" not in usual["note"]


@pytest.mark.parametrize("steps, words", [((1, 2, 40, 70, 60), "which has 50: 60, 70 will be ignored"), ((1, 50), "")])
def test_listed_steps_beyond_the_run_are_told_in_the_plan_and_in_the_trace(steps, words):
    chosen = {"method": "budcache", "method.steps": ", ".join(map(str, steps))}
    asked = graph({"settings": ["settings", 0]}, {"length": 97})
    settings = {"settings": {"class_type": "SCOPE_Settings", "inputs": chosen}}
    prompt = {**{name: asked.node(name) for name in asked.ids}, **settings}
    note = plan_node("sampler", Graph.of(prompt), KNOWN)["note"]
    told = " ".join(warnings(SKYREELS.schedule(25), Settings(METHODS["budcache"](steps=steps)), "unipc", ""))
    for text in (note, told):
        assert words in text and bool(words) == ("beyond this run" in text)
