"""A time as a person writes it: 90s, 5m, 1h30m."""

import math
import re
import time
from numbers import Real

import psutil

from convlens.errors import UserError

LONGEST = 10 * 365 * 86_400  # seconds
_NUMBER = r"(\d+(?:\.\d+)?)"
_TIME = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?)?(?:{_NUMBER}s?)?", re.ASCII)


def seconds_of(text: str) -> float:
    """Seconds in a time as the option `time` takes it. Raises UserError where it is none."""
    found = _TIME.fullmatch(text.replace(" ", "").lower())
    if found is None or not any(found.groups()):
        raise UserError(f"`time` {text} is no time; write it as 90s, 5m or 1h30m", option="time")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    whole = 3600 * hours + 60 * minutes + seconds
    if whole > LONGEST:
        raise UserError("`time` must not be more than ten years; give less", option="time")
    return whole


def as_time(seconds: Real) -> str:
    """A number of seconds as the option `time` takes it."""
    try:
        return f"{float(seconds):.6f}".rstrip("0").rstrip(".") + "s"
    except OverflowError:
        return f"{LONGEST + 1}s"  # which is too long as well


def in_words(seconds: float) -> str:
    """The same, to the second: 3690 is 1h1m30s."""
    whole = math.floor(seconds + 0.5)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def process_began() -> float:
    """When this process began, by `time.perf_counter`; before Python had loaded anything."""
    return time.perf_counter() - (time.time() - psutil.Process().create_time())
