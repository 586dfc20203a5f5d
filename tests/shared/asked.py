"""What the explorer answers at a path, opened."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from convlens.explorer.answers import answer
from convlens.explorer.inside import Explorer


def told(explorer: Explorer, path: str):
    found = answer(explorer, path)
    assert found.kind == "application/json"
    return json.loads(found.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def shown(explorer: Explorer, path: str) -> np.ndarray:
    found = answer(explorer, path)
    assert found.kind == "image/png"
    with Image.open(io.BytesIO(found.body)) as image:
        return np.asarray(image)
