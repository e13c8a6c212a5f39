"""The words that the demo models know, what each of them looks like, and the measures of their videos."""

import re
from collections.abc import Iterable

FPS = 24
FRAMES_PER_LATENT = 4
WINDOW = 16
"""Latent frames the demo model was trained on: 61 frames, 2.5 seconds."""

SHAPES = ("circle", "square", "triangle", "star", "ring", "e", "t", "x")
"""The last three are letters."""
MOTIONS = ("bouncing", "hopping", "orbiting", "swaying")
COLOURS = {
    "red": (0.90, 0.16, 0.16),
    "orange": (0.98, 0.56, 0.10),
    "yellow": (0.98, 0.88, 0.20),
    "green": (0.20, 0.76, 0.30),
    "blue": (0.20, 0.40, 0.95),
    "purple": (0.62, 0.26, 0.85),
    "white": (0.97, 0.97, 0.97),
}
BACKGROUNDS = {
    "black": (0.05, 0.05, 0.06),
    "gray": (0.42, 0.43, 0.45),
    "navy": (0.08, 0.11, 0.30),
    "teal": (0.05, 0.35, 0.37),
    "brown": (0.36, 0.22, 0.13),
}
PATTERNS = ("striped", "checkered", "dotted")
"""A background without one of them is plain."""
OF_OBJECTS = (*SHAPES, *MOTIONS, *COLOURS)
SECOND = "and"
"""The words of objects behind it tell of the second object: the networks see no order, so they are words of their own.
"""
WORDS = (*OF_OBJECTS, *BACKGROUNDS, *PATTERNS, *(f"{SECOND} {word}" for word in OF_OBJECTS))
TOKENS = 8
"""Condition tokens a prompt is padded to. Token 0 is the pad, word i of WORDS is token i + 1."""


def token_ids(words: Iterable[str]) -> list[int]:
    """The token of each word of a prompt in lower case, 0 where this world does not know it."""
    known = {word: i + 1 for i, word in enumerate(WORDS)}
    ids, second = [], False
    for word in words:
        second = second or word == SECOND
        ids.append(known.get(f"{SECOND} {word}", known.get(word, 0)) if second else known.get(word, 0))
    return ids


def split(prompt: str) -> list[str]:
    """The words of a prompt, in lower case; "don't" is one."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", prompt.lower())


def tokenize(prompt: str) -> list[int]:
    """Token ids of the words of a prompt that this world knows, in order, padded to TOKENS; the rest is ignored."""
    ids = [token for token in token_ids(split(prompt)) if token]
    return (ids + [0] * TOKENS)[:TOKENS]
