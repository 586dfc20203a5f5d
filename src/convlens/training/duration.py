"""A time as a person writes it: 90s, 5m, 1h30m."""

import math
import re
import time

import psutil

from convlens.errors import UserError

_NUMBER = r"(\d+(?:\.\d+)?)"
_TIME = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?)?(?:{_NUMBER}s?)?", re.ASCII)


def seconds_of(text: str) -> float:
    """Seconds in a time as the option `time` takes it. Raises UserError where it is none."""
    found = _TIME.fullmatch(text.replace(" ", "").lower())
    if found is None or not any(found.groups()):
        raise UserError(f"`time` {text} is no time; write it as 90s, 5m or 1h30m", option="time")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def in_words(seconds: float) -> str:
    """The same, to the second: 3690 is 1h1m30s."""
    whole = math.floor(seconds + 0.5)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def process_began() -> float:
    """When this process began, by `time.perf_counter`; before Python had loaded anything."""
    return time.perf_counter() - (time.time() - psutil.Process().create_time())
