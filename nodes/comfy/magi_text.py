"""Prompts for MAGI-1 (docs/magi1.md 2.4): caption cleaning, T5 features of any of the host's clip types, learned
special tokens."""

import html
import re
from collections.abc import Collection
from urllib.parse import unquote_plus

import folder_paths
import ftfy
import numpy as np
import torch
from bs4 import BeautifulSoup
from torch import Tensor

MAX_TOKENS = 800
WIDTH = 4096
EOS = 1
TOKEN_FILE = "special_tokens.npz"
TOKEN_ARRAYS = {"caption_token": 1, "logo_token": 1, "other_tokens": 100}
# Array and rows of every option, in the order in which MAGI-1 puts them before the text: the last one ends up first.
TOKEN_ROWS = {
    "captions": ("caption_token", 0, 1),
    "logos": ("logo_token", 0, 1),
    "transitions": ("other_tokens", 0, 1),
    "static": ("other_tokens", 2, 3),
    "dynamic": ("other_tokens", 3, 4),
    "borders": ("other_tokens", 4, 5),
    "high_quality": ("other_tokens", 1, 2),
    "3d_model": ("other_tokens", 15, 16),
    "2d_anime": ("other_tokens", 16, 17),
    "duration": ("other_tokens", 7, 15),
}

FILE_TYPES = "(?:png|jpe?g|bmp|webp|eps|pdf|apk|mp4)"
ADDRESS = r"[a-z0-9.-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
LINKS = tuple((rf"\b(?:{scheme}:(?:/{{1,3}}|[a-z0-9%])|{ADDRESS})", "") for scheme in ("https?", "www"))
SYMBOLS = (
    (r"@\w+\b", ""),
    (r"[\u31c0-\u9fff]+", ""),
    (
        r"[-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d]+",
        "-",
    ),
    ("[`\u00b4\u00ab\u00bb\u201c\u201d\u00a8]", '"'),
    ("[\u2018\u2019]", "'"),
    (r"&quot;?|&amp", ""),
    (r"\d{1,3}(?:\.\d{1,3}){3}", " "),
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b|#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.{FILE_TYPES}", ""),
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#\u00ae\u2022\u00a9\u2122&@\u00b7\u00ba\u00bd\u00be\u00bf\u00a1\u00a7~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
PHRASES = (
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b{FILE_TYPES}(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[x\u0445\u00d7]\d+\.?\d*\b", ""),
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
    (r"(?s)^[\"'](.+)[\"']$", r"\1"),
    (r"^['_,:;-]", ""),
    (r"['_,:+-]$", ""),
    (r"^\.\S+$", ""),
)


class MissingTokensError(ValueError):
    """special_tokens.npz is not there or is something else. The message says where to get it and how to do without."""


class WrongEncoderError(ValueError):
    """A CLIP that is not T5-v1.1-XXL alone."""


def clean(caption: str) -> str:
    """A prompt as MAGI-1's captions were cleaned: DeepFloyd's rules, applied twice as published (docs/magi1.md 2.4).
    Lower case, no links, markup, names, ids, file names, brackets or CJK characters."""
    for _ in range(2):
        caption = unquote_plus(caption).strip().lower().replace("<person>", "person")
        caption = substitute(LINKS, caption)
        caption = substitute(SYMBOLS, BeautifulSoup(caption, "html.parser").text)
        if len(re.findall("[-_]", caption)) > 3:
            caption = re.sub("[-_]", " ", caption)
        caption = html.unescape(html.unescape(ftfy.fix_text(caption))).strip()
        caption = substitute(PHRASES, caption).strip()
    return caption


def substitute(rules: tuple[tuple[str, str], ...], text: str) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text


def encode(clip, text: str) -> Tensor:
    """T5 features [1, L, 4096] of the cleaned text, 1 <= L <= 800 with the end token. Clip types pad differently;
    features here are those of the text without padding, as MAGI-1 uses them. Raises WrongEncoderError."""
    tokens = clip.tokenize(clean(text))
    if list(tokens) != ["t5xxl"]:
        raise WrongEncoderError(
            f"this CLIP encodes with {', '.join(tokens)}, MAGI-1 with T5-v1.1-XXL alone; load t5xxl with Load CLIP,"
            " type pixart; the umt5_xxl of Wan and SkyReels is another encoder"
        )
    words = [(token, weight) for token, weight in tokens["t5xxl"][0] if token > EOS]
    features = clip.encode_from_tokens({"t5xxl": [[*words[: MAX_TOKENS - 1], (EOS, 1.0)]]})
    if features.shape[2] != WIDTH:
        raise WrongEncoderError(
            f"this T5 makes features of width {features.shape[2]}, MAGI-1 needs {WIDTH}: T5-v1.1-XXL, not the older T5"
            " of Cosmos"
        )
    return features


def special_tokens_path() -> str:
    """Full path of special_tokens.npz in models/text_encoders. Raises MissingTokensError."""
    path = folder_paths.get_full_path("text_encoders", TOKEN_FILE)
    if path is None:
        raise missing_tokens("is missing")
    return path


def special_tokens(options: Collection[str]) -> Tensor:
    """Rows [n, 4096] fp32 of the options in TOKEN_ROWS, in the order in which they stand before the text; `duration`
    gives 8 rows, row k for the chunk that k chunks follow (7: or more). Rounded to fp16 as published (docs/magi1.md
    2.4). Raises MissingTokensError."""
    path = special_tokens_path()
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name].astype(np.float16)).float() for name in TOKEN_ARRAYS}
    except Exception as error:  # whatever damage makes a parser do
        raise missing_tokens(f"cannot be read ({error})") from error
    if wrong := [name for name, rows in TOKEN_ARRAYS.items() if arrays[name].shape != (rows, WIDTH)]:
        raise missing_tokens(
            f"has other shapes than published ({', '.join(f'{name} {list(arrays[name].shape)}' for name in wrong)})"
        )
    return torch.cat(
        [arrays[name][start:end] for option, (name, start, end) in reversed(TOKEN_ROWS.items()) if option in options]
    )


def missing_tokens(trouble: str) -> MissingTokensError:
    return MissingTokensError(
        f"{TOKEN_FILE} {trouble}. It holds MAGI-1's learned tokens for quality, length and style and is not part of the"
        f" checkpoint. Download example/assets/{TOKEN_FILE} (3.3 MB) of the GitHub repository SandAI-org/MAGI-1 into"
        " models/text_encoders, or switch off the options that use it: high_quality, duration, borders and"
        " avoid_overlays off, first_frames and style on any"
    )
