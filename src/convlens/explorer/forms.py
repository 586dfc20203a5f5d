"""Answers in the forms that the page reads: strict JSON, and PNG."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.explorer import pictures

JSON, PNG = "application/json", "image/png"


@dataclass(frozen=True)
class Answer:
    """body: the bytes. kind: the content type. final: the same path will never give another."""

    body: bytes
    kind: str
    final: bool = True


def as_json(content: Any, final: bool = True) -> Answer:
    """Text, numbers, lists and mappings as an answer, in strict JSON and valid UTF-8.

    A number that is not finite is null, and what a name has that is no character, a byte of another
    encoding, is written out.
    """
    text = json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Answer(text.encode(), JSON, final)


def as_png(pixels: np.ndarray) -> Answer:
    """Pixels as `pictures.png` takes them."""
    return Answer(pictures.png(pixels), PNG)


def _plain(content: Any) -> Any:
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode()
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {_plain(str(name)): _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
