"""Plans of broken graphs, and of what is no graph at all, asked of a real server."""

import http.client
import json
from copy import deepcopy
from random import Random

import pytest
from cases import draw, explore, require_sentence
from prompts import case_of, complete, graph_of

JUNK = (None, True, 0, -1, 1e308, float("nan"), "", "x", [], [[]], ["sampler"], ["sampler", 0], ["gone", 0], {})
"""Values of JSON that are put in the place of others."""
BODIES = (b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"node": "sampler"', b"[" * 50_000, b'{"node": 1, "prompt": {}}')


def replace_input(place: dict, number: int, junk) -> None:
    if isinstance(place["inputs"], dict) and place["inputs"]:
        names = sorted(place["inputs"])
        place["inputs"][names[number % len(names)]] = junk


def nest(depth: int) -> list:
    made: list = []
    for _ in range(depth):
        made = [made]
    return made


BREAKS = {
    "prompt": lambda request, place, junk: request.update(prompt=junk),
    "class_type": lambda request, place, junk: place.update(class_type=junk),
    "inputs": lambda request, place, junk: place.update(inputs=junk),
    "input": lambda request, place, change: replace_input(place, *change),
    "gone": lambda request, place, name: request["prompt"].pop(name, None),
    "circle": lambda request, place, link: place.update(inputs={"model": link, "latent": link, "schedule": link}),
    "many": lambda request, place, count: request["prompt"].update({str(i): place for i in range(count)}),
    "deep": lambda request, place, depth: place.update(inputs={"model": nest(depth)}),
}
"""How a request is broken: in all of it, or in the node at one place."""
BROKEN = {
    **dict.fromkeys(("prompt", "class_type", "inputs"), JUNK),
    "input": [(number, junk) for number in range(12) for junk in JUNK],
    "class_type ": ("KSampler", "SCOPE_Sampler", "SCOPE_ARSchedule", "SCOPE_Sweep"),
    "gone": ("demo", "schedule", "positive", "sampler"),
    "circle": (["sampler", 0], ["schedule", 1]),
    "many": (299, 400),
    "deep": (100, 900),
}


def request_of(case: dict, info: dict) -> bytes:
    """The body of a case."""
    if "body" in case:
        return BODIES[case["body"]]
    graph = deepcopy(complete(graph_of(case), info))
    request, place = {"node": case.get("of", "sampler"), "prompt": graph}, graph.get(case.get("at"), {})
    for name, value in case.items():
        if name.strip() in BREAKS:
            BREAKS[name.strip()](request, place or graph["demo"], value)
    return json.dumps(request).encode()


def plan_case_of(seed: int, info: dict) -> dict:
    """The graph of a random prompt, of which every second one is broken."""
    random = Random(seed)
    if random.random() < 0.05:
        return {"body": random.randrange(len(BODIES))}
    case = case_of(seed, info)
    graph = graph_of(case)
    planned = [name for name in ("sampler", "schedule", "chunks", "sweep") if name in graph]
    case["of"] = random.choice([*planned * 4, "demo", "gone", ""] if planned else ["demo", "select"])
    if random.random() < 0.5:
        case |= draw(random, BROKEN, 1) | {"at": random.choice(sorted(graph))}
    return case


def post(server, body: bytes) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", "/scope/plan", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read(), parse_constant=refuse)


def refuse(constant: str):
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


def totals_of(answer: dict) -> list[dict]:
    """Of every point of a plan, its own or those of a sweep."""
    return [answer["trace"]["totals"]] if "trace" in answer else answer["points"]


@pytest.fixture(scope="module")
def usual(server, info):
    return json.dumps({"node": "sampler", "prompt": complete(graph_of({}), info)}).encode()


@pytest.fixture(scope="module")
def first(server, usual):
    post(server, usual)  # teaches the demo's signals
    return post(server, usual)


@pytest.mark.cases(300, 3000)
def test_every_plan_is_drawn_or_answered(server, info, usual, first, seed):
    def ends_well(case: dict) -> None:
        status, answer = post(server, request_of(case, info))
        if status == 200:
            for totals in totals_of(answer):
                assert 0 <= totals["computed"] <= totals["iterations"] > 0
            assert isinstance(answer["exact"], bool) and isinstance(answer["note"], str)
        else:
            assert status in (400, 413), f"status {status}"
            odd = {"node": "graph", "prompt": "plan", "schedule": "", "of": case.get("of")}
            require_sentence(answer["error"], odd | case)
        assert first[0] == 200 and post(server, usual) == first, "the case changed the usual plan"

    explore(ends_well, plan_case_of(seed, info), seed)
