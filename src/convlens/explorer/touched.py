"""Pictures that the reader changes on the page: answered at once, and kept where it asks for it."""

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from convlens.data.dataset import center_crop
from convlens.errors import UserError
from convlens.explorer import pictures
from convlens.explorer.answers import statistics
from convlens.explorer.forms import Answer
from convlens.explorer.inside import Explorer
from convlens.explorer.lookup import network_of
from convlens.explorer.network import look_inside
from convlens.explorer.pictures import short

LARGEST = 1024  # pixels a side; no network of ours is loaded larger


def touched(
    explorer: Explorer, run: int, content: bytes, layers: Sequence[int], keep: bool
) -> Answer:
    """What a network makes of a picture that is in nobody's list, all of it in one answer.

    Args:
        explorer: What is asked.
        run: The number of the network.
        content: Its pixels, RGB, row by row, of a square as the first run's images are loaded.
        layers: Of which stages the maps are to be drawn.
        keep: Whether it becomes an image like an uploaded one; `id` then is its name.

    Returns:
        Four bytes, little-endian: the length of the JSON that follows. It has `probabilities`,
        `statistics` of all stages, `id`, and `lengths` of the PNGs that come after it, one for each
        of `layers`.

    Raises:
        UserError: where the pixels are no square, and NotThere for a run that is not there.
    """
    network = network_of(explorer, str(run))
    side = math.isqrt(len(content) // 3)
    if not 1 <= side <= LARGEST or side * side * 3 != len(content):
        raise UserError(f"{len(content)} bytes are no square of RGB pixels; load the page again")
    upload = explorer.images.add_pixels(
        np.frombuffer(content, np.uint8).reshape(side, side, 3), keep
    )
    pixels = center_crop(upload.pixels[network.loading], network.size)
    with np.errstate(all="ignore"):  # what is not finite is null, or drawn as 0
        seen = look_inside(network.model, network.normalized(pixels), network.layers)
        chosen = [stage for stage in layers if 0 <= stage < len(seen.maps)]
        drawn = [
            pictures.png(pictures.sprite(seen.maps[stage][0], seen.scales[stage]))
            for stage in chosen
        ]
        head: dict[str, Any] = {
            "probabilities": short(network.classifier.probabilities(seen.logits)[0], 6),
            "statistics": [
                statistics(maps[0], scale)
                for maps, scale in zip(seen.maps, seen.scales, strict=True)
            ],
            "id": upload.name if keep else None,
            "layers": chosen,
            "lengths": [len(each) for each in drawn],
        }
    told = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    body = b"".join((struct.pack("<I", len(told)), told, *drawn))
    return Answer(body, "application/octet-stream", final=False)
