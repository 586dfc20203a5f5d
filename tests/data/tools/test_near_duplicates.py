"""Near-duplicates of images made for the purpose, whose answers are known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from convlens.data.dataset import Split
from convlens.data.tools import near_duplicates
from convlens.data.tools.near_duplicates import (
    across,
    near_duplicates_in_train,
    thumbnails,
    within,
)


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
    assert len(within(np.stack([small(scene) for scene in SCENES]), progress=False)) == 0


@pytest.mark.parametrize("how", CHANGES)
def test_a_scene_is_found_again_however_it_was_changed(how):
    copies = [changed(scene, how) for scene in SCENES[:8]]
    images = np.stack([*(small(scene) for scene in SCENES), *copies])
    found = within(images, progress=False)
    assert list(zip(found.first, found.second, strict=True)) == [(i, 24 + i) for i in range(8)]
    assert (found.similarity >= near_duplicates.SIMILAR).all()


def test_across_tells_rows_of_each_whichever_is_the_crop():
    first = np.stack([small(SCENES[0]), changed(SCENES[1], "middle"), small(SCENES[2])])
    second = np.stack([small(SCENES[5]), changed(SCENES[2], "left half"), small(SCENES[1])])
    found = across(first, second, progress=False)
    assert list(zip(found.first, found.second, strict=True)) == [(1, 2), (2, 1)]
    back = across(second, first, progress=False)
    assert list(zip(back.second, back.first, strict=True)) == [(2, 1), (1, 2)]


def test_images_without_contrast_resemble_nothing():
    gray = [np.full((64, 64, 3), level, dtype=np.uint8) for level in (0, 100, 101, 255)]
    noise = [small(Image.new("RGB", (64, 64), (90, 90, 90)), noise=1) for _ in range(2)]
    assert len(within(np.stack([*gray, *noise]), progress=False)) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_images_will_do(count):
    images = np.stack([small(SCENES[0])] * count)
    assert len(within(images, progress=False)) == count - 1
    assert len(across(images, images, progress=False)) == count**2


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
    assert near_duplicates_in_train(tmp_path, train, validation).tolist() == [True, False]
    with monkeypatch.context() as patch:
        patch.setattr(near_duplicates, "across", None)  # what is kept needs no search
        assert near_duplicates_in_train(tmp_path, train, validation).tolist() == [True, False]
    for kept in own_cache.glob("near-duplicates-*.npy"):
        kept.write_bytes(b"damaged")
    assert near_duplicates_in_train(tmp_path, train, validation).tolist() == [True, False]
    write("train/a/0.png", small(SCENES[9], noise=5))
    assert near_duplicates_in_train(tmp_path, train, validation).tolist() == [True, True]
