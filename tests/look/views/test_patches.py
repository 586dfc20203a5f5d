"""`convlens look` with the views patches and deconvolution, on an untrained toy network."""

import pytest
from PIL import Image

from convlens.cli import main
from convlens.errors import UserError
from convlens.look.views import draw


def test_both_views_are_drawn_of_the_training_set(toy_weights, toy_data, tmp_path, capsys):
    written = draw(toy_weights, (), ("patches", "deconvolution"), toy_data, tmp_path)
    # The second convolution's field is larger than these images of 16×16, the first one's is not.
    assert [path.name for path in written] == ["patches-relu1.png", "deconvolution-relu1.png"]
    assert "data set   toy: 5 classes" in capsys.readouterr().out
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 1000


def test_layer_and_maps_are_the_user_s_to_choose(toy_weights, toy_data, tmp_path, capsys):
    where = ["--data", str(toy_data), "--out", str(tmp_path)]
    what = ["--view", "deconvolution", "--layer", "relu2", "--map", "3", "60"]
    main(["look", str(toy_weights), *what, *where])
    assert [path.name for path in tmp_path.iterdir()] == ["deconvolution-relu2-map3-60.png"]
    assert "deconvolution-relu2-map3-60.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layer", "maps", "sentence"),
    [
        ("relu1", (32,), "layer relu1 has no map 32; choose from 0 to 31"),
        ("relu9", (), "LeNet5 has no layer 'relu9'"),
        ("fc2", (), "layer fc2 gives no maps"),
    ],
)
def test_a_layer_or_map_that_is_not_there_is_told_before_anything_is_drawn(
    toy_weights, toy_data, tmp_path, layer, maps, sentence
):
    out = tmp_path / "looks"
    views = ("filters", "patches", "deconvolution")
    with pytest.raises(UserError, match=sentence):
        draw(toy_weights, (), views, toy_data, out, layer=layer, maps=maps)
    assert not out.exists()
