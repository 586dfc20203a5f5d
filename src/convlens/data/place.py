"""Where ConvLens keeps what it made of data sets."""

import os
from pathlib import Path


def cache_home() -> Path:
    """Where decoded data sets and the demo set are kept: CONVLENS_CACHE, else the user's cache."""
    if chosen := os.environ.get("CONVLENS_CACHE"):
        return Path(chosen).expanduser().resolve()
    import pooch  # imports slowly, and most starts do not come here

    return Path(pooch.os_cache("convlens"))
