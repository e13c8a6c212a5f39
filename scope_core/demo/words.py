"""The words that the demo models know, what each of them looks like, and the measures of their videos."""

FPS = 24
FRAMES_PER_LATENT = 4
WINDOW = 16
"""Latent frames the demo model was trained on: 61 frames, 2.5 seconds."""

SHAPES = ("circle", "square", "triangle", "star", "ring")
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
WORDS = (*SHAPES, *MOTIONS, *COLOURS, *BACKGROUNDS)
TOKENS = 8
"""Condition tokens a prompt is padded to. Token 0 is the pad, word i of WORDS is token i + 1."""


def tokenize(prompt: str) -> list[int]:
    """Token ids of the words of a prompt that this world knows, in order, padded to TOKENS; the rest is ignored."""
    known = {word: i + 1 for i, word in enumerate(WORDS)}
    ids = [known[word] for word in "".join(c if c.isalpha() else " " for c in prompt.lower()).split() if word in known]
    return (ids + [0] * TOKENS)[:TOKENS]
