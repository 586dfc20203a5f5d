"""A picture that was changed on the page is answered as any image is, and kept only if asked."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from convlens.data.dataset import Loading
from convlens.errors import UserError
from convlens.explorer.answers import NotThere, answer
from convlens.explorer.images import Images
from convlens.explorer.touched import touched


def parts(body: bytes) -> tuple[dict, list[np.ndarray]]:
    (length,) = struct.unpack("<I", body[:4])
    told, rest = json.loads(body[4 : 4 + length]), body[4 + length :]
    drawn = []
    for size in told["lengths"]:
        drawn.append(np.asarray(Image.open(io.BytesIO(rest[:size]))))
        rest = rest[size:]
    assert rest == b""
    return told, drawn


def test_pixels_are_answered_as_the_image_is_of_which_they_are(own, unet):
    explorer = own(unet)
    pixels = explorer.pixels("v3", explorer.networks[0])
    told, drawn = parts(touched(explorer, 0, pixels.tobytes(), [2, 0, 99], keep=False).body)
    expected = json.loads(answer(explorer, "api/0/v3/prediction.json").body)
    assert told["probabilities"] == expected["probabilities"]
    assert told["statistics"] == json.loads(answer(explorer, "api/0/v3/layers.json").body)
    assert (told["layers"], told["id"]) == ([2, 0], None)
    for stage, picture in zip(told["layers"], drawn, strict=True):
        with Image.open(io.BytesIO(answer(explorer, f"api/0/v3/layer-{stage}.png").body)) as same:
            np.testing.assert_array_equal(picture, np.asarray(same))


def test_a_kept_picture_is_an_image_like_any_other(own, vgg):
    explorer = own(vgg)
    pixels = explorer.pixels("v3", explorer.networks[0])[::-1].copy()
    told, drawn = parts(touched(explorer, 0, pixels.tobytes(), [], keep=True).body)
    assert drawn == []
    seen = explorer.pixels(told["id"], explorer.networks[0])
    np.testing.assert_array_equal(seen, pixels)
    again = json.loads(answer(explorer, f"api/0/{told['id']}/prediction.json").body)
    assert again == {"probabilities": told["probabilities"], "label": None}


def test_a_picture_is_scaled_for_a_run_that_loads_another_size():
    images = Images({}, {Loading(8), Loading(16)})
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    upload = images.add_pixels(pixels)
    np.testing.assert_array_equal(upload.pixels[Loading(8)], pixels)
    larger = upload.pixels[Loading(16)]
    assert larger.shape == (16, 16, 3)
    assert larger[:, :6].max() < 10 and larger[:, -6:].min() > 190
    with pytest.raises(KeyError):
        images.pixels(images.add_pixels(pixels + 1, keep=False).name, Loading(8))


@pytest.mark.parametrize("length", [0, 1, 3 * 24 * 24 - 1, 3 * 24 * 23, 3 * 1025**2])
def test_what_is_no_square_is_refused(own, vgg, length):
    with pytest.raises(UserError, match="no square of RGB pixels"):
        touched(own(vgg), 0, bytes(length), [], keep=False)


def test_a_run_that_is_not_there_is_told(own, vgg):
    with pytest.raises(NotThere, match="no run 1"):
        touched(own(vgg), 1, bytes(3 * 24 * 24), [], keep=False)
