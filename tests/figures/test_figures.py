"""Figures show the right numbers, on stated scales, and can be read at 2 and at 101 classes."""

import errno
import itertools

import matplotlib
import numpy as np
import pytest
from PIL import Image

from convlens import figures
from convlens.figures.style import DOTS_AN_INCH, VERMILION, new_figure, shorten, styled
from convlens.inference.confusion import similarity_order

LONG = "a_class_of_things_whose_name_nobody_would_ever_want_to_type_twice"


def names(count: int) -> list[str]:
    return [f"{'$weird_' if i % 3 else ''}class_{i:03d}" for i in range(count)]


def confusion_matrix(count: int, seed: int = 0) -> np.ndarray:
    """int, (count, count): mostly right, the second class without images."""
    random = np.random.default_rng(seed)
    matrix = np.diag(random.integers(3, 60, count)) + random.poisson(3 / count, (count, count))
    matrix[1] = 0
    return matrix


def texts(figure) -> list[str]:
    """Everything a reader can read in a figure."""
    figure.draw_without_rendering()
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_visible() and text.get_text()]


def overlaps(labels) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap by more than a pixel each way."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in labels if t.get_text()]
    return [
        (a, b)
        for (a, x), (b, y) in itertools.combinations(boxes, 2)
        if min(x.x1, y.x1) - max(x.x0, y.x0) > 1 and min(x.y1, y.y1) - max(x.y0, y.y0) > 1
    ]


def image_axes(figure) -> list:
    return [ax for ax in figure.axes if ax.images and ax.get_visible()]


def history(epochs: int) -> dict[str, np.ndarray]:
    rising = np.linspace(0.1, 0.8, epochs)
    return {
        "epoch": np.arange(1, epochs + 1),
        "train_loss": 4 * (1 - rising),
        "train_accuracy": rising,
        "validation_loss": 5 * (1 - rising),
        "validation_accuracy": rising - 0.05,
        "validation_mean_class_accuracy": rising - 0.1,
    }


# --- learning curves


def test_curves_show_the_columns_in_percent_and_nats():
    columns = history(20)
    loss, accuracy = figures.learning_curves(columns).axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), columns["train_loss"])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), columns["validation_loss"])
    np.testing.assert_allclose([line.get_ydata()[-1] for line in accuracy.lines], [80, 75, 70])
    assert accuracy.get_ylim() == (0, 100)
    assert loss.get_ylim()[0] == 0


def test_curves_say_how_each_was_measured():
    columns = history(3)
    held_out = {name.replace("validation", "holdout"): each for name, each in columns.items()}
    for given_as, monitored, other in (
        (columns, "validation", "holdout"),
        (held_out, "holdout", "validation"),
    ):
        labels = " | ".join(texts(figures.learning_curves(given_as)))
        assert "training (running mean over batches as augmented)" in labels
        assert f"{monitored} (evaluation mode)" in labels
        assert f"{monitored}, mean per class" in labels
        assert other not in labels


def test_curves_skip_what_was_not_measured():
    columns = history(4)
    columns["validation_loss"][:] = np.nan
    columns["validation_accuracy"][[0, 2]] = np.nan
    del columns["validation_mean_class_accuracy"]
    loss, accuracy = figures.learning_curves(columns).axes
    assert len(loss.lines) == 1
    assert list(accuracy.lines[1].get_xdata()) == [2, 4]


def test_a_single_epoch_is_a_visible_dot():
    for line in figures.learning_curves(history(1)).axes[1].lines:
        assert line.get_marker() == "o"


# --- confusion


def test_few_classes_show_their_counts():
    matrix = np.array([[13, 1], [0, 17]])
    figure = figures.confusion(matrix, ["cat", LONG])
    assert {"13", "1", "0", "17", "cat"} <= set(texts(figure))
    assert len(figure.axes) == 2  # the matrix and its color bar
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[13 / 14, 1 / 14], [0, 1]])


@pytest.mark.parametrize("count", [2, 15, 16, 40, 101, 300])
def test_confusion_can_be_read(count):
    figure = figures.confusion(confusion_matrix(count), names(count))
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis in ax.xaxis, ax.yaxis:
            labels = axis.get_ticklabels()
            assert overlaps(labels) == []
            assert all(label.get_fontsize() >= 5.5 for label in labels)
        for right in ax.child_axes:
            assert overlaps(right.get_yticklabels()) == []


def test_every_one_of_101_classes_is_named_once_beside_its_row():
    matrix = confusion_matrix(101)
    figure = figures.confusion(matrix, names(101))
    ax = figure.axes[0]
    order = similarity_order(matrix)
    rows = {}
    for side in (ax, *ax.child_axes):
        for at, label in zip(side.get_yticks(), side.get_yticklabels(), strict=True):
            rows[int(at)] = label.get_text()
    assert rows == {row: names(101)[c] for row, c in enumerate(order)}


def test_many_classes_show_shares_pairs_and_spread():
    matrix = confusion_matrix(101)
    matrix[40, 50] += 70
    figure = figures.confusion(matrix, names(101))
    picture, pairs, spread = (
        ax for ax in figure.axes if ax.get_title().startswith(("Confusion", "Most", "Accuracy"))
    )
    order = list(similarity_order(matrix))
    shares = picture.images[0].get_array()
    row, column = order.index(40), order.index(50)
    assert shares[row, column] == pytest.approx(matrix[40, 50] / matrix[40].sum())
    assert abs(row - column) == 1
    assert np.ma.getmaskarray(shares)[order.index(1)].all()  # no images: no color
    assert len(pairs.patches) == 20
    assert pairs.patches[0].get_width() == matrix[40, 50]
    assert pairs.get_yticklabels()[0].get_text() == f"{names(101)[40]} → {names(101)[50]}"
    assert sum(bar.get_height() for bar in spread.patches) == 100  # of 101, one has no images


def test_a_perfect_matrix_of_many_classes_is_drawn():
    figures.confusion(np.eye(20, dtype=int), names(20)).draw_without_rendering()


def test_names_that_do_not_fit_the_matrix_are_an_error():
    with pytest.raises(ValueError, match="3 classes in the array but 2 class names"):
        figures.confusion(np.eye(3, dtype=int), names(2))


# --- per class


@pytest.mark.parametrize("count", [1, 2, 30, 101, 250])
def test_per_class_names_everyone_once_best_first(count):
    random = np.random.default_rng(1)
    counts = random.integers(1, 80, count)
    accuracy = random.random(count)
    figure = figures.per_class(accuracy, counts, names(count))
    figure.draw_without_rendering()
    labels = [t for ax in figure.axes for t in ax.get_yticklabels()]
    widths = [bar.get_width() for ax in figure.axes for bar in ax.patches]
    assert [t.get_text() for t in labels] == [names(count)[c] for c in np.argsort(-accuracy)]
    np.testing.assert_allclose(widths, 100 * np.sort(accuracy)[::-1])
    assert overlaps(labels + [t for ax in figure.axes for t in ax.texts]) == []


def test_a_class_without_images_is_last_and_says_so():
    figure = figures.per_class(np.array([np.nan, 0.25, 1.0]), np.array([0, 8, 3]), names(3))
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.texts] == ["100 % of 3", "25 % of 8", "no images"]
    assert "62.5 %" in figure.get_suptitle()


def test_nothing_but_empty_classes_is_drawn():
    figures.per_class(np.full(2, np.nan), np.zeros(2, int), names(2)).draw_without_rendering()


def test_per_class_has_a_dot_for_each_precision():
    accuracy, precision = np.array([0.25, 1.0, 0.5]), np.array([np.nan, 0.75, 0.125])
    figure = figures.per_class(accuracy, np.array([8, 3, 4]), names(3), precision)
    (dots,) = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_array_equal(dots.get_xdata(), [75, 12.5, np.nan])  # the best class first


# --- worst mistakes and batches


def test_worst_are_the_surest_mistakes():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = range(5)
    figure = figures.worst(
        images,
        true=np.array([0, 1, 2, 0, 1]),
        predicted=np.array([1, 1, 0, 2, 2]),
        probability=np.array([0.5, 0.99, 0.9, 0.7, 0.6]),
        classes=["ant", "bee", "cat"],
    )
    shown = image_axes(figure)
    assert [ax.images[0].get_array()[0, 0, 0] for ax in shown] == [2, 3, 4, 0]
    assert [ax.get_title() for ax in shown] == ["cat", "ant", "bee", "ant"]
    assert shown[0].get_xlabel() == "ant\n90 %"


@pytest.mark.parametrize("count", [1, 7, 30])
def test_worst_titles_do_not_touch_at_long_names(count):
    images = np.zeros((count, 8, 8, 3), np.uint8)
    true, predicted = np.zeros(count, int), np.ones(count, int)
    classes = ["W" + LONG, LONG.upper()[:11] + LONG]
    figure = figures.worst(images, true, predicted, np.linspace(0, 1, count), classes)
    figure.draw_without_rendering()
    axes = image_axes(figure)
    assert len(axes) == min(count, 24)
    labels = [ax.title for ax in axes] + [ax.xaxis.label for ax in axes]
    assert overlaps(labels) == []


def test_no_mistakes_are_said_to_be_none():
    none = np.zeros(2, int)
    figure = figures.worst(np.zeros((2, 8, 8, 3), np.uint8), none, none, np.ones(2), ["a", "b"])
    assert texts(figure) == ["No mistakes to show"]


def test_batch_is_denormalized_and_mixed_labels_are_told():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    pixels = np.random.default_rng(0).random((3, 3, 6, 6))
    pixels[2] = 1.7  # augmentation may leave 0..1
    normalized = (pixels - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    targets = np.array([[0, 1, 0], [0.3, 0, 0.7], [0.96, 0.02, 0.02]])
    figure = figures.batch(normalized, targets, mean, std, ["ant", "bee", "camera"])
    axes = image_axes(figure)
    np.testing.assert_allclose(axes[0].images[0].get_array(), pixels[0].transpose(1, 2, 0))
    assert axes[2].images[0].get_array().max() == 1
    assert [ax.get_title() for ax in axes] == ["bee", "camera 0.70 +\nant 0.30", "ant"]


def test_batch_shows_32_with_titles_apart():
    images = np.zeros((40, 3, 8, 8))
    targets = np.full((40, 2), 0.5)
    figure = figures.batch(images, targets, (0, 0, 0), (1, 1, 1), [LONG, LONG.upper()])
    figure.draw_without_rendering()
    assert len(image_axes(figure)) == 32
    assert overlaps([ax.title for ax in image_axes(figure)]) == []


# --- activations and filters


@pytest.mark.parametrize(("count", "columns"), [(1, 8), (32, 8), (64, 8), (70, 16)])
def test_activations_share_one_scale_in_raster_order(count, columns):
    random = np.random.default_rng(0)
    maps = random.random((count, 6, 5)).astype(np.float32)
    image = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    figure = figures.activations(image, maps, "first layer")
    figure.draw_without_rendering()
    source, *rest = image_axes(figure)
    tiles = [ax for ax in rest if ax.get_title()]
    np.testing.assert_array_equal(source.images[0].get_array(), image)
    assert [ax.get_title() for ax in tiles] == [str(i) for i in range(count)]
    for ax, one in zip(tiles, maps, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), one)
        assert ax.images[0].get_clim() == (0, maps.max())
        assert ax.images[0].get_interpolation() == "nearest"
    spots = [ax.get_position() for ax in tiles]
    assert len({round(spot.x0, 3) for spot in spots}) == min(count, columns)
    assert sorted(spots, key=lambda s: (-round(s.y0, 2), s.x0)) == spots
    assert overlaps(figure.findobj(matplotlib.text.Text)) == []


def test_activations_mark_dead_maps_and_negative_values():
    maps = np.ones((4, 3, 3))
    maps[1] = 0
    maps[2] = -1
    figure = figures.activations(np.zeros((3, 3, 3), np.uint8), maps, "layer")
    said = texts(figure)
    assert {"0", "1 dead", "2 dead", "3"} <= set(said)
    assert any("2 dead (nowhere above 0)" in text for text in said)
    assert any("below 0 drawn as 0" in text for text in said)


def test_activations_of_a_dead_layer_are_drawn():
    figure = figures.activations(np.zeros((3, 3, 3), np.uint8), np.zeros((2, 3, 3)), "layer")
    assert {"0 dead", "1 dead"} <= set(texts(figure))


def test_activations_say_where_the_scale_ends():
    maps = np.arange(101.0).reshape(1, 1, 101)
    image = np.zeros((3, 3, 3), np.uint8)
    for options, vmax, words in (
        ({}, 100, "maximum of all maps"),
        ({"percentile": 90}, 90, "percentile 90 of all maps"),
    ):
        figure = figures.activations(image, maps, "layer", **options)
        tile = image_axes(figure)[1]
        assert tile.images[0].get_clim() == (0, vmax)
        said = " ".join(texts(figure))
        assert words in said
        assert f"{vmax:g}" in said


def test_filters_are_symmetric_about_gray():
    weights = np.zeros((33, 3, 3, 3), np.float32)
    weights[4] = -0.5
    weights[5, 0, 0] = (0.25, 0, -0.25)
    figure = figures.filters(weights)
    tiles = image_axes(figure)
    assert len(tiles) == 33
    assert np.all(tiles[0].images[0].get_array() == 0.5)
    assert np.all(tiles[4].images[0].get_array() == 0)
    np.testing.assert_allclose(tiles[5].images[0].get_array()[0, 0], [0.75, 0.5, 0.25])
    assert "−0.5" in figure.get_suptitle()


def test_filters_of_zeros_are_gray():
    (tile,) = image_axes(figures.filters(np.zeros((1, 5, 5, 3))))
    assert np.all(tile.images[0].get_array() == 0.5)


# --- comparison


def test_compare_gives_mean_and_standard_error_of_the_seeds():
    results = [
        {"recipe": "resnet18", "train_accuracy": 0.99, "validation_accuracy": 0.77},
        {"recipe": "lenet5", "train_accuracy": 0.9, "validation_accuracy": 0.64},
        {"recipe": "resnet18", "train_accuracy": 0.97, "validation_accuracy": 0.79},
    ]
    figure = figures.compare(results)
    said = texts(figure)
    assert "validation 78.0 ± 1.0 (n=2)" in said  # standard deviation √2, over √2
    assert {"64.0", "90.0", "65", "67", "69", "71"} <= set(said)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["resnet18", "lenet5"]
    assert ax.get_xlim()[0] < 64


@pytest.mark.parametrize("accuracy", [0.02, 0.66, 1.0])
def test_compare_labels_do_not_touch_where_both_splits_agree(accuracy):
    results = [
        {"recipe": name, "train_accuracy": accuracy, "validation_accuracy": accuracy}
        for name in ("a", "b", LONG)
    ]
    figure = figures.compare(results)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert overlaps(ax.texts) == []


# --- style and saving


def test_shorten_keeps_both_ends():
    assert shorten("camera", 6) == "camera"
    assert shorten("crocodile_head", 10) == "crocod…ead"
    assert len(shorten(LONG, 18)) == 18


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    first = figures.save(figures.learning_curves(history(3)), tmp_path / "new" / "a.png")
    second = figures.save(figures.learning_curves(history(3)), tmp_path / "new" / "b.png")
    assert first.read_bytes() == second.read_bytes()
    assert b"atplotlib" not in first.read_bytes()
    assert sorted(p.name for p in first.parent.iterdir()) == ["a.png", "b.png"]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = figures.learning_curves(history(3))

    def fail(picture, target, **options):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        figures.save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("beyond", [False, True])
def test_a_saved_figure_is_all_that_is_drawn_and_its_edges(beyond, tmp_path):
    """As matplotlib saves it with bbox_inches="tight", wherever it was drawn."""
    figure = styled(new_figure)(height=2, width=3)
    styled(figure.subplots)().plot([0, 1], [0, 1])
    if beyond:
        styled(figure.text)(1.2, 0.5, "outside of the figure")
    dpi, canvas = figure.dpi, figure.canvas
    path = figures.save(figure, tmp_path / "ours.png")
    assert (figure.dpi, figure.canvas) == (dpi, canvas)
    figure.savefig(tmp_path / "theirs.png", dpi=DOTS_AN_INCH, bbox_inches="tight")
    with Image.open(path) as ours, Image.open(tmp_path / "theirs.png") as theirs:
        assert ours.size == pytest.approx(theirs.size, abs=1)
        assert ours.info["dpi"] == pytest.approx((DOTS_AN_INCH, DOTS_AN_INCH), abs=0.1)
        mine, other = (
            np.asarray(each.convert("L").resize((60, 40), Image.Resampling.BOX), float)
            for each in (ours, theirs)
        )
    assert np.abs(mine - other).mean() < 1.5
    assert mine.std() > 10


def test_drawing_leaves_matplotlib_s_settings_alone():
    before = dict(matplotlib.rcParams)
    figures.learning_curves(history(3))
    assert dict(matplotlib.rcParams) == before


def test_the_reliability_diagram_shows_the_bins_and_states_the_error():
    accuracy = np.array([np.nan, 0.25, 0.75, 1.0])
    confidence = np.array([np.nan, 0.4, 0.7, 0.9])
    figure = figures.reliability(confidence, accuracy, np.array([0, 4, 8, 2]), 0.0714)
    above, below = figure.axes
    heights = [bar.get_height() for bar in above.patches]
    np.testing.assert_array_equal(heights, accuracy)
    assert [bar.get_height() for bar in below.patches] == [0, 4, 8, 2]
    assert "Expected calibration error 7.1 %" in "\n".join(texts(figure))
    assert overlaps(figure.findobj(matplotlib.text.Text)) == []


# --- near-duplicates and the search


@pytest.mark.parametrize("count", [1, 3, 32])
def test_near_duplicates_are_named_and_their_names_do_not_touch(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 2, 8, 8, 3), dtype=np.uint8)
    pairs = [(f"train/{LONG}/image_{i:04d}.jpg", f"validation/b/{i}.jpg") for i in range(count)]
    figure = figures.near_duplicates(images, pairs, np.linspace(0.9, 1, count), "Pairs")
    written = texts(figure)
    assert all(second in written for _, second in pairs)
    assert written.count("0.900") == 1
    shown = [image.get_array() for ax in figure.axes for image in ax.images]
    np.testing.assert_array_equal(np.stack(shown), images.reshape(-1, 8, 8, 3))
    assert overlaps(figure.findobj(matplotlib.text.Text)) == []


def search(trials: int, importance: float):
    random = np.random.default_rng(0)
    return [
        figures.Coordinate(
            "learning_rate", 10 ** random.uniform(-4, -2, trials), log=True, importance=importance
        ),
        figures.Coordinate("augment.scale", random.uniform(0, 0.8, trials), importance=1 / 8),
        figures.Coordinate(
            "optimizer",
            random.integers(0, 3, trials).astype(float),
            ("adamw", "sgd", "muon"),
            importance=0.0,
        ),
    ]


@pytest.mark.parametrize("trials", [1, 2, 40])
def test_a_search_shows_every_setting_and_marks_the_best_and_the_own(trials):
    accuracy = np.linspace(0.3, 0.7, trials)
    stopped = np.array([[trials, 0.1], [trials + 1, 0.2]])
    figure = figures.tuning(search(trials, 0.5), accuracy, np.arange(trials), stopped, own=0)
    top, importance, course = figure.axes[:3]
    lines = [line for line in top.lines if len(line.get_xdata()) == 4]
    assert len(lines) == trials + 2
    assert all(np.isfinite(line.get_ydata()).all() for line in lines)
    best = next(line for line in lines if line.get_label() == "the best")
    assert best.get_ydata()[-1] == (1 if trials > 1 else 0.5)
    assert [bar.get_width() for bar in importance.patches] == [50, 12.5, 0]
    assert [label.get_text() for label in importance.get_yticklabels()] == [
        "learning_rate",
        "augment.scale",
        "optimizer",
    ]
    np.testing.assert_allclose(course.lines[1].get_ydata(), [10, 20])
    assert {"muon", "sgd", "adamw"} <= set(texts(figure)) or trials == 1


def test_a_search_that_is_too_short_says_so():
    figure = figures.tuning(
        search(2, float("nan")), np.array([0.2, 0.1]), np.arange(2), np.empty((0, 2)), own=None
    )
    # a choice and a number whose importance is unknown are not drawn as 0
    assert len(figure.axes[1].patches) == 2
    unknown = [figures.Coordinate("a", np.zeros(2))]
    figure = figures.tuning(unknown, np.array([0.2, 0.1]), np.arange(2), np.empty((0, 2)), None)
    assert "too few trials to tell" in texts(figure)


# --- deeper filters and sorted maps


def test_deeper_filters_carry_their_own_numbers_and_title():
    figure = figures.filters(np.ones((2, 3, 3, 3)), (5, 61), "of relu2")
    assert [ax.get_title() for ax in image_axes(figure)] == ["5", "61"]
    assert figure.get_suptitle().startswith("of relu2\n2 filters of 3×3")


def test_kernels_stand_beside_what_they_make():
    random = np.random.default_rng(0)
    composites, weights = random.normal(size=(3, 5, 5, 3)), random.normal(size=(3, 4, 3, 3))
    inputs = np.arange(12).reshape(3, 4)
    figure = figures.kernels(composites, weights, inputs, (2, 8, 9), "kernels")
    figure.draw_without_rendering()
    axes = image_axes(figure)
    assert [ax.get_title() for ax in axes[:5]] == ["map 2", "of 0", "of 1", "of 2", "of 3"]
    np.testing.assert_allclose(axes[7].images[0].get_array(), weights[1, 1])
    assert axes[7].images[0].get_clim() == (-np.abs(weights[1]).max(), np.abs(weights[1]).max())


def test_sorted_activations_keep_the_order_given_and_show_what_each_map_does():
    maps = np.random.default_rng(0).random((40, 2, 2)).astype(np.float32)
    maps[7] = 0
    order = np.random.default_rng(1).permutation(40).tolist()
    mean, maximum = maps.mean(axis=(1, 2))[order], maps.max(axis=(1, 2))[order]
    figure = figures.sorted_activations(
        np.zeros((4, 4, 3), np.uint8), maps[order], order, mean, maximum, mean / 2, "sorted"
    )
    tiles = image_axes(figure)[-40:]
    assert [int(ax.get_title().removesuffix(" dead")) for ax in tiles] == order
    np.testing.assert_array_equal(tiles[3].images[0].get_array(), maps[order[3]])
    assert tiles[order.index(7)].title.get_color() == VERMILION
    bars, shares = (ax for ax in figure.axes if ax.patches and not ax.images and ax.get_ylabel())
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], mean, rtol=1e-6)
    np.testing.assert_allclose([bar.get_height() for bar in shares.patches], 50 * mean, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 8, 60])
def test_layers_have_a_bar_for_their_parameters_and_one_for_their_work(count):
    random = np.random.default_rng(0)
    parameters, work = random.integers(0, 9_000_000, (2, count))
    figure = figures.layers([f"stage{i}.conv" for i in range(count)], parameters, work, "title")
    said = texts(figure)
    assert "title" in said and f"stage{count - 1}.conv" in said
    left, right = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in left.patches], parameters / 1e3)
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], work / 1e3)
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first layer on top
    for labels in left.get_yticklabels(), left.get_xticklabels(), right.get_xticklabels():
        assert overlaps(labels) == []


def test_a_figure_shows_itself_on_a_screen_with_what_is_saved():
    figure = figures.learning_curves(history(3))
    shown = figure._repr_png_()
    assert shown == figures.to_png(figure)
    assert shown.startswith(b"\x89PNG") and b"atplotlib" not in shown
