"""Near-duplicates of images made for the purpose, whose answers are known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from convlens.data.dataset import Split
from convlens.data.tools.near_duplicates import SIMILAR, across, leak, thumbnails, within
from convlens.data.tools.near_duplicates.chance import beyond_chance
from convlens.data.tools.near_duplicates.leak import near_duplicates_in_train


def photograph(seed: int) -> Image.Image:
    """A made-up scene of 160×160: smooth colors and twelve rectangles and ellipses."""
    random = np.random.default_rng(seed)
    ground = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = ground.resize((160, 160), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for i in range(12):
        x, y = random.integers(0, 140, 2)
        w, h = random.integers(10, 60, 2)
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        (draw.rectangle if i % 2 else draw.ellipse)((x, y, x + w, y + h), fill=color)
    return image


def small(image: Image.Image, noise: int = 0) -> np.ndarray:
    pixels = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    if noise:
        pixels = pixels + np.random.default_rng(noise).integers(-noise, noise + 1, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


SCENES = [photograph(seed) for seed in range(24)]


def changed(image: Image.Image, how: str) -> np.ndarray:
    if how == "mirrored":
        return small(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    if how == "noisy":
        return small(image, noise=6)
    if how == "brighter":
        return small(image.point(lambda value: min(255, 20 + value * 0.85)))
    middle, left, corner = (32, 24, 128, 136), (0, 0, 84, 160), (48, 64, 160, 160)
    return small(image.crop({"middle": middle, "left half": left, "low corner": corner}[how]))


CHANGES = ("noisy", "brighter", "mirrored", "middle", "left half", "low corner")


def test_scenes_that_differ_are_not_confused():
    found = within(np.stack([small(scene) for scene in SCENES]), progress=False)
    assert (len(found.known), len(found.unsure)) == (0, 0)


@pytest.mark.parametrize("how", CHANGES)
def test_a_scene_is_found_again_however_it_was_changed(how):
    copies = [changed(scene, how) for scene in SCENES[:8]]
    images = np.stack([*(small(scene) for scene in SCENES), *copies])
    found = within(images, progress=False).known
    assert list(zip(found.first, found.second, strict=True)) == [(i, 24 + i) for i in range(8)]
    assert (found.similarity >= SIMILAR).all()


def test_across_tells_rows_of_each_whichever_is_the_crop():
    first = np.stack([small(SCENES[0]), changed(SCENES[1], "middle"), small(SCENES[2])])
    second = np.stack([small(SCENES[5]), changed(SCENES[2], "left half"), small(SCENES[1])])
    found = across(first, second, progress=False).known
    assert list(zip(found.first, found.second, strict=True)) == [(1, 2), (2, 1)]
    back = across(second, first, progress=False).known
    assert list(zip(back.second, back.first, strict=True)) == [(2, 1), (1, 2)]


def test_images_without_contrast_resemble_nothing():
    gray = [np.full((64, 64, 3), level, dtype=np.uint8) for level in (0, 100, 101, 255)]
    noise = [small(Image.new("RGB", (64, 64), (90, 90, 90)), noise=1) for _ in range(2)]
    found = within(np.stack([*gray, *noise]), progress=False)
    assert (len(found.known), len(found.unsure)) == (0, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_images_will_do(count):
    images = np.stack([small(SCENES[0])] * count)
    assert len(within(images, progress=False).known) == count - 1
    assert len(across(images, images, progress=False).known) == count**2


def test_the_number_of_threads_is_as_it_was():
    before = torch.get_num_threads()
    within(np.stack([small(scene) for scene in SCENES[:3]]), progress=False)
    assert torch.get_num_threads() == before


def test_thumbnails_scale_to_one_size_and_spare_what_has_it():
    images = np.stack([small(scene) for scene in SCENES[:3]])
    assert thumbnails(images) is images
    large = np.stack([np.asarray(scene) for scene in SCENES[:3]])
    assert np.abs(thumbnails(large).astype(int) - images).mean() < 4  # of 255; another filter


def test_a_leak_is_found_kept_and_found_anew_when_a_file_changes(tmp_path, own_cache, monkeypatch):
    def write(path: str, image: np.ndarray) -> str:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / path)
        return path

    trained = [write(f"train/a/{i}.png", small(SCENES[i])) for i in range(6)]
    judged = [
        write("validation/a/0.png", changed(SCENES[3], "middle")),
        write("validation/a/1.png", small(SCENES[9])),
    ]
    train, validation = (
        Split(np.empty(0), np.zeros(len(paths), int), tuple(paths)) for paths in (trained, judged)
    )

    def leaked() -> list[bool]:
        found = near_duplicates_in_train(tmp_path, train, validation)
        assert found.unknown == ""
        return found.images.tolist()

    assert leaked() == [True, False]
    with monkeypatch.context() as patch:
        patch.setattr(leak, "across", None)  # what is kept needs no search
        assert leaked() == [True, False]
    for kept in own_cache.glob("near-duplicates-*.npy"):
        kept.write_bytes(b"damaged")
    assert leaked() == [True, False]
    write("train/a/0.png", small(SCENES[9], noise=5))
    assert leaked() == [True, True]


# --- sets of little variety


def glyphs(count: int) -> np.ndarray:
    """Digits of 8×8 pixels, a little turned and stretched: all alike, none a copy."""
    random = np.random.default_rng(0)
    font = ImageFont.load_default(44)
    images = []
    for _ in range(count):
        image = Image.new("L", (64, 64))
        text = str(random.integers(10))
        ImageDraw.Draw(image).text((32, 32), text, fill=255, font=font, anchor="mm")
        linear = np.eye(2) + random.uniform(-0.2, 0.2, (2, 2))
        offset = 32 - linear @ (32, 32) + random.uniform(-4, 4, 2)
        affine = np.column_stack([linear, offset]).flatten().tolist()
        image = image.transform((64, 64), Image.Transform.AFFINE, affine)
        images.append(small(image.resize((8, 8), Image.Resampling.BOX).convert("RGB")))
    return np.stack(images)


@pytest.fixture(scope="module")
def alike() -> np.ndarray:
    return glyphs(160)


def leak_of(tmp_path, train: np.ndarray, validation: np.ndarray) -> leak.InTrain:
    splits = []
    for name, images in (("train", train), ("validation", validation)):
        (tmp_path / name).mkdir()
        paths = [f"{name}/{i}.png" for i in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(tmp_path / path)
        splits.append(Split(np.empty(0), np.zeros(len(paths), int), tuple(paths)))
    return near_duplicates_in_train(tmp_path, *splits, progress=False)


def test_glyphs_that_resemble_each_other_are_no_copies(alike):
    found = within(alike, progress=False)
    assert len(found.known) == 0
    assert len(found.unsure) > 50  # each of them as similar as a copy would be


def test_of_glyphs_only_the_same_pixels_are_known(alike):
    found = within(np.concatenate([alike, alike[:5], alike[5:8, :, ::-1]]), progress=False).known
    assert set(zip(found.first, found.second, strict=True)) >= {(i, 160 + i) for i in range(8)}
    assert len(found) <= 10


def test_a_set_of_glyphs_leaks_nothing_and_says_that_it_cannot_tell(alike, tmp_path, own_cache):
    found = leak_of(tmp_path, alike[:120], alike[120:])
    assert (found.images, found.count, found.others) == (None, None, None)
    assert "of 40 images resemble a training image as a copy would" in found.unknown


def test_the_same_glyph_in_both_splits_leaks_though_others_are_unsure(alike, tmp_path, own_cache):
    found = leak_of(tmp_path, alike[:120], alike[117:])
    assert found.images.tolist() == [True] * 3 + [False] * 40
    assert (found.count, len(found.others)) == (3, 40)
    assert "resemble a training image" in found.unknown


@pytest.mark.parametrize("how", CHANGES)
def test_one_copy_in_a_varied_set_is_found(how, tmp_path, own_cache):
    train = np.stack([small(scene) for scene in SCENES[:16]])
    validation = np.stack([small(SCENES[20]), changed(SCENES[7], how), small(SCENES[21])])
    found = leak_of(tmp_path, train, validation)
    assert (found.images.tolist(), found.unknown) == ([False, True, False], "")


def test_the_same_pixels_leak_though_they_hold_nothing(tmp_path, own_cache):
    black, gray = (np.full((1, 64, 64, 3), level, np.uint8) for level in (0, 128))
    found = leak_of(tmp_path, np.concatenate([black] * 3), np.concatenate([black, gray]))
    assert (found.images.tolist(), found.unknown) == ([True, False], "")
    assert found.others.tolist() == [1]


def test_versions_of_every_image_do_not_hide_each_other():
    versions = [[changed(scene, how) for scene in SCENES] for how in CHANGES[:3]]
    found = within(np.concatenate([[small(scene) for scene in SCENES], *versions]), progress=False)
    assert len(found.known) == 24 * 6
    assert len(found.unsure) == 0


def test_a_set_that_is_one_image_over_and_over():
    found = within(np.stack([small(SCENES[0])] * 30), progress=False)
    assert set(found.known.first) | set(found.known.second) == set(range(30))
    assert len(found.unsure) == 0


# --- chance

STRANGERS = np.linspace(0.5, 0.4, 10)


def chance(similarity: float, nearest: np.ndarray) -> bool:
    rows = np.array([0]), np.array([1])
    return bool(beyond_chance(np.array([similarity]), *rows, np.stack([nearest, nearest]))[0])


def test_a_pair_counts_by_what_is_usual_around_it():
    crowd = np.linspace(0.93, 0.9, 10)
    for similarity, among_strangers, among_a_crowd in (
        (0.92, True, False),
        (0.95, True, False),
        (0.99, True, True),
        (1.0, True, True),
    ):
        assert chance(similarity, STRANGERS) == among_strangers
        assert chance(similarity, crowd) == among_a_crowd


def test_a_crowd_around_one_of_the_two_will_do():
    nearest = np.stack([STRANGERS, np.linspace(0.93, 0.9, 10)])
    assert not beyond_chance(np.array([0.95]), np.array([0]), np.array([1]), nearest)[0]


def test_nothing_around_is_no_obstacle():
    assert chance(0.92, np.full(10, np.nan))
    assert chance(0.92, np.array([0.92, *[np.nan] * 9]))
    assert len(beyond_chance(*np.empty((3, 0)).astype(int), np.empty((0, 10)))) == 0


def test_of_many_pairs_chance_brings_some_near():
    """A thousand images spread at random in five dimensions: none is a copy of another."""
    random = np.random.default_rng(0)
    points = random.uniform(0, 1, (1000, 5))
    squared = ((points[:, None] - points) ** 2).sum(2)
    np.fill_diagonal(squared, 9)
    nearest = 1 - np.sort(squared, axis=1)[:, :10]
    first, second = np.nonzero(np.triu(squared < 0.1))
    similarity = 1 - squared[first, second]
    assert not beyond_chance(similarity, first, second, nearest).any()
