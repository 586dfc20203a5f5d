"""`convlens look --view attribution occlusion`: the right pictures under the right names."""

import pytest
from PIL import Image

from convlens.errors import UserError
from convlens.look.sheets import draw

VIEWS = ("attribution", "occlusion")


@pytest.fixture
def image(toy_data):
    return toy_data / "train" / "red_cross" / "image_0003.png"


def test_a_picture_for_each_view_of_ones_own_image(toy_weights, image, tmp_path, capsys):
    written = draw(toy_weights, (image,), VIEWS, None, tmp_path)
    assert [path.name for path in written] == [
        "attribution-red_cross-image_0003.png", "occlusion-red_cross-image_0003.png",
    ]  # fmt: skip
    assert capsys.readouterr().out == ""
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 1000


def test_another_target_gives_other_pictures_beside_them(toy_weights, image, tmp_path):
    ours = draw(toy_weights, (image,), VIEWS, None, tmp_path, "cyan_bar")
    theirs = draw(toy_weights, (image,), VIEWS, None, tmp_path, "yellow_ring")
    assert [path.name for path in ours] == [
        "attribution-red_cross-image_0003-for-cyan_bar.png",
        "occlusion-red_cross-image_0003-for-cyan_bar.png",
    ]
    for a, b in zip(ours, theirs, strict=True):
        assert a.read_bytes() != b.read_bytes()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cyan_bra", "did you mean cyan_bar"), ("zzz", "choose a class of its data set")],
)
def test_a_class_that_the_network_does_not_know(toy_weights, image, tmp_path, name, hint):
    with pytest.raises(UserError, match=f"LeNet5 was not trained on a class '{name}'; {hint}"):
        draw(toy_weights, (image,), VIEWS, None, tmp_path / "looks", name)
    assert not (tmp_path / "looks").exists()
