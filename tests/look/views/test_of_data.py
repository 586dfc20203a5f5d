"""`convlens look` with the views of features, on an untrained toy network."""

import pytest
from PIL import Image

from convlens.cli import main
from convlens.errors import UserError
from convlens.look.views import draw


def test_a_picture_for_all_images_and_one_for_the_data_set(toy_weights, toy_data, tmp_path):
    views = ("embedding", "invariance", "neighbors")
    written = draw(toy_weights, (), views, toy_data, tmp_path)
    assert [path.name for path in written] == [
        "embedding.png", "invariance.png", "neighbors.png"
    ]  # fmt: skip
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 300


def test_images_are_made_for_classes_and_for_maps(toy_weights, tmp_path, capsys):
    command = ["look", str(toy_weights), "--view", "optimized", "--out", str(tmp_path)]
    main([*command, "--target", "red_cross"])
    main([*command, "--layer", "relu2", "--map", "3", "60"])
    assert {path.name for path in tmp_path.iterdir()} == {
        "optimized-for-red_cross.png", "optimized-relu2-map3-60.png"
    }  # fmt: skip
    assert "data set" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        (None, (5,), "LeNet5 has no class 5; choose from 0 to 4"),
        ("relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
        ("relu9", (), "LeNet5 has no layer 'relu9'"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_drawn(
    toy_weights, tmp_path, layer, maps, sentence
):
    out = tmp_path / "looks"
    with pytest.raises(UserError, match=sentence):
        draw(toy_weights, (), ("filters", "optimized"), None, out, layer=layer, maps=maps)
    assert not out.exists()
