"""Plans of broken graphs, and of what is no graph at all, asked of a real server."""

import http.client
import json
from copy import deepcopy
from random import Random

import pytest
from cases import draw, explore, require_sentence
from test_prompts import GRAPH, SHOWN, case_of, complete, graph_of

JUNK = (
    None,
    True,
    0,
    -1,
    1e308,
    float("nan"),
    "",
    "x",
    [],
    [[]],
    ["sampler"],
    ["sampler", 0],
    ["gone", 0],
    {},
    {"a": 1},
)
"""Values of JSON that are put in the place of others."""
BODIES = (b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"node": "sampler"', b"[" * 50_000, b'{"node": 1, "prompt": {}}')
BREAKS = ("node", "prompt", "class_type", "inputs", "widget", "link", "gone", "circle", "many", "unknown", "deep")


def request_of(case: dict, info: dict) -> bytes:
    """The body of a case."""
    if "body" in case:
        return BODIES[case["body"]]
    graph = deepcopy(complete(graph_of(case), info))
    request = {"node": case.get("of", "sampler"), "prompt": graph}
    place = graph.get(case.get("at", "sampler"), graph[next(iter(graph))])
    junk = JUNK[case.get("junk", 0)]
    for broken in BREAKS:
        if broken not in case:
            continue
        if broken in ("node", "prompt"):
            request[broken] = junk
        elif broken in ("class_type", "inputs"):
            place[broken] = junk
        elif broken in ("widget", "link") and isinstance(place["inputs"], dict) and place["inputs"]:
            names = sorted(place["inputs"])
            place["inputs"][names[case[broken] % len(names)]] = junk
        elif broken == "gone":
            graph.pop(sorted(graph)[case[broken] % len(graph)])
        elif broken == "circle" and isinstance(place["inputs"], dict):
            place["inputs"] |= {"model": [case.get("at", "sampler"), 0], "latent": [case.get("at", "sampler"), 1]}
        elif broken == "many":
            graph |= {str(i): {"class_type": "PrimitiveInt", "inputs": {"value": i}} for i in range(400)}
        elif broken == "unknown":
            place["class_type"] = "KSampler"
        elif broken == "deep":
            deep: list = []
            for _ in range(900):
                deep = [deep]
            place["inputs"] = {"model": deep}
    return json.dumps(request).encode()


def plan_case_of(seed: int, info: dict) -> dict:
    """The graph of a random prompt, of which every second one is broken."""
    random = Random(seed)
    if random.random() < 0.05:
        return {"body": random.randrange(len(BODIES))}
    case = case_of(seed, info)
    planned = [name for name in ("sampler", "schedule", "chunks", "sweep", "demo", "select") if name in graph_of(case)]
    case["of"] = random.choice([*planned * 3, "gone", ""])
    if random.random() < 0.5:
        fields = {broken: range(12) for broken in BREAKS}
        case |= draw(random, fields, 2) | {"at": random.choice(list(GRAPH)), "junk": random.randrange(len(JUNK))}
    return case


def post(server, body: bytes) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
            require_sentence(answer["error"], {"node": "graph", "prompt": "plan", "of": case.get("of")} | case)
        assert first[0] == 200 and post(server, usual) == first, "the case changed the usual plan"

    explore(ends_well, plan_case_of(seed, info), seed)
