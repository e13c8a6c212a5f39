"""Random cases as data, and what every one of them has to end in.

A case is a dictionary of what differs from the usual input, drawn from a seed. It ends in a result or in an answer: an
error that a line of ours raised, whose sentence names what was odd and a way out. One that ends otherwise is cut down
to the smallest part that still does, and told.
"""

import dis
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

PACK = Path(__file__).parents[2]
OURS = tuple(str(PACK / room) for room in ("scope_core", "nodes"))
ODD_NUMBERS = (0, -1, 1e-9, 1e9, math.nan, math.inf)
RAISE = dis.opmap["RAISE_VARARGS"]
WAY_OUT = re.compile(
    r"\b(must|has to|have to|needs?|choose|uses?|takes|set|give|load|connect|remove|run|make|write|scale|start|lie|at"
    r" least|at most|between|download|usual|published|only|for example|turn|disconnect|instead|above)\b",
    re.IGNORECASE,
)
RAW = re.compile(
    r"Expecting|Extra data|unsupported operand|NoneType|not subscriptable|not iterable|not callable|out of range|has no"
    r" attribute|invalid literal|could not convert|cannot convert|not supported between|division by zero|recursion"
    r" depth|size of tensor|shape mismatch|unexpected keyword|positional argument|to unpack|codec can't|broadcast"
)
"""How Python, numpy and torch speak to those who program them."""


def draw(random: Random, fields: Mapping[str, Sequence[Any]], most: int) -> dict[str, Any]:
    """None to `most` of the fields, each at one of its values."""
    names = random.sample(list(fields), random.randint(0, min(most, len(fields))))
    return {name: random.choice(fields[name]) for name in names}


def explore(attempt: Callable[[dict[str, Any]], None], case: dict[str, Any], seed: int) -> None:
    """Call `attempt(case)`, which asserts. Of a case that fails the smallest part that fails as well is told."""
    failure = failed(attempt, case)
    if failure is None:
        return
    for name in list(case):
        smaller = {key: value for key, value in case.items() if key != name}
        if less := failed(attempt, smaller):
            case, failure = smaller, less
    raise AssertionError(f"case {seed}, cut down to {case}: {type(failure).__name__}: {failure}") from failure


def failed(attempt: Callable[[dict[str, Any]], None], case: dict[str, Any]) -> Exception | None:
    try:
        attempt(case)
    except Exception as error:
        return error
    return None


def raised_by_us(error: BaseException) -> bool:
    """Whether it left a `raise` statement of the pack, not a call that a line of ours made."""
    traceback = error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return code.co_filename.startswith(OURS) and code.co_code[traceback.tb_lasti] == RAISE


def require_answer(error: Exception, odd: Mapping[str, Any]) -> None:
    """Asserts that an error is an answer to a case."""
    told = f"{type(error).__name__}: {error}"
    assert isinstance(error, (ValueError, FloatingPointError)), f"a raw {told}"
    assert raised_by_us(error), f"not raised by a line of ours: {told}"
    require_sentence(str(error), odd)


def require_sentence(message: str, odd: Mapping[str, Any]) -> None:
    """Asserts that a message is a sentence that names something odd and a way out."""
    assert re.match(r"[\"'`(-]?[A-Za-z0-9]", message) and len(message.split()) >= 5, f"not a sentence: {message!r}"
    assert not RAW.search(message), f"the words of a programming language: {message!r}"
    assert WAY_OUT.search(message), f"no way out: {message!r}"
    assert any(word in message.lower() for word in words_of(odd)), f"none of {odd} is named: {message!r}"


def words_of(odd: Mapping[str, Any]) -> Iterable[str]:
    """How names and values of a case may be written, in small letters."""
    for name, value in odd.items():
        yield from name.lower().split(".")
        yield from str(value[0]).split() if isinstance(value, list) else [str(value).lower()[:20]]
        if isinstance(value, (int, float)):
            yield f"{value:g}"
