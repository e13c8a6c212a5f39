"""Caches of other nodes on a MODEL, which reuse steps of their own choice. They are told by the names that they leave
there (docs/accelerate.md 4)."""

import re
from typing import Any

CACHES = {
    "EasyCache or LazyCache": re.compile(r"easy_?cache|lazy_?cache", re.IGNORECASE),
    "TeaCache": re.compile(r"tea_?cache|^rel_l1_thresh$", re.IGNORECASE),
    "MagCache": re.compile(r"mag_?cache", re.IGNORECASE),
    "First Block Cache": re.compile(r"fb_?cache|first_?block_?cache", re.IGNORECASE),
    "CacheDiT": re.compile(r"cache_?dit|^wan_cache$", re.IGNORECASE),
    "Spectrum": re.compile(r"^spectrum(_|$)", re.IGNORECASE),
}


def other_cache(patcher: Any) -> str:
    """What a cache of another node on a MODEL is called; empty where there is none."""
    options = patcher.model_options
    names = [*options.get("transformer_options", {}), *(key for kind in patcher.wrappers.values() for key in kind)]
    if (around := options.get("model_function_wrapper")) is not None:
        names.append(getattr(around, "__qualname__", type(around).__qualname__))
    return next((cache for cache, look in CACHES.items() if any(look.search(str(name)) for name in names)), "")
