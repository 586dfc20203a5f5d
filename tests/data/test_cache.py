import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import cache, open_dataset
from convlens.data.cache import decode, load
from convlens.errors import UserError

RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def small_set(root: Path, counts: dict[str, int], size: int = 16) -> dict[str, np.ndarray]:
    """PNG files and, by relative path, what they hold."""
    truth = {}
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            path = f"{folder}/{i:02d}.png"
            truth[path] = pixels(size, size, 3)
            Image.fromarray(truth[path]).save(root / path)
    return truth


@pytest.fixture
def pets(tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    root = tmp_path / "pets"
    counts = {"train/cat": 5, "train/dog": 4, "validation/cat": 2, "validation/dog": 1}
    return root, small_set(root, counts)


def assert_holds(dataset, truth):
    found = dict(zip(dataset.train.paths + dataset.validation.paths,
                     [*dataset.train.images, *dataset.validation.images], strict=True))
    assert found.keys() == truth.keys()
    for path in truth:
        np.testing.assert_array_equal(found[path], truth[path], path)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names = []

    def spy(path, size):
        names.append(Path(path).name)
        return decode(path, size)

    monkeypatch.setattr(cache, "decode", spy)
    return names


# --- one file


def test_a_file_of_the_right_size_keeps_its_bytes(tmp_path):
    Image.fromarray(pixels(16, 16, 3)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        plain = np.asarray(image)
    array = decode(tmp_path / "a.jpg", 16)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, plain)


def test_other_shapes_are_squashed_bicubically(tmp_path):
    image = Image.fromarray(pixels(30, 50, 3))
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        decode(tmp_path / "a.png", 16), np.asarray(image.resize((16, 16), Image.BICUBIC))
    )


def test_grayscale_and_bilevel_fill_all_channels(tmp_path):
    gray = pixels(8, 8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(decode(tmp_path / "gray.png", 8), np.dstack([gray] * 3))
    Image.fromarray(gray > 99).save(tmp_path / "one.png")
    np.testing.assert_array_equal(decode(tmp_path / "one.png", 8)[..., 1], (gray > 99) * 255)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = [200, 100, 50, 255]
    rgba[2] = [200, 100, 50, 0]
    rgba[3] = [0, 0, 0, 51]
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    expected = [[200, 100, 50]] * 2 + [[255, 255, 255], [204, 204, 204]]
    np.testing.assert_array_equal(decode(tmp_path / "rgba.png", 4)[:, 0], expected)
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    np.testing.assert_array_equal(decode(tmp_path / "la.png", 4)[:, 0, 0], [200, 200, 255, 204])


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_palette_with_and_without_transparency(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "plain.png")
    assert decode(tmp_path / "plain.png", 2)[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    image.save(tmp_path / "clear.png", transparency=transparency)
    assert decode(tmp_path / "clear.png", 2)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_color_in_an_rgb_file(tmp_path):
    array = np.array([[[1, 2, 3], [4, 5, 6]]] * 2, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png", transparency=(4, 5, 6))
    assert decode(tmp_path / "a.png", 2)[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_cmyk(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif", 4)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    gray = np.array([[0, 128], [257 * 100, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / name)
    np.testing.assert_array_equal(decode(tmp_path / name, 2)[..., 2], [[0, 0], [100, 255]])


def test_exif_rotation_is_applied(tmp_path):
    array = pixels(8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn a quarter clockwise
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 8), np.rot90(array, -1))


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif cannot be decoded \(floating-point"):
        decode(tmp_path / "a.tif", 4)


def test_unreadable_files_are_named(tmp_path):
    Image.fromarray(pixels(64, 64, 3)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name in "cut.jpg", "text.jpg", "empty.png", "missing.png":
        with pytest.raises(UserError, match=f"{name} cannot be decoded .*; replace it$"):
            decode(tmp_path / name, 16)


def test_a_decompression_bomb_is_refused(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data)
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match=r"bomb\.png cannot be decoded .*decompression bomb"):
        decode(tmp_path / "bomb.png", 16)


# --- a data set


def test_images_labels_and_paths_agree(pets):
    root, truth = pets
    dataset = load(root, size=16)
    assert_holds(dataset, truth)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0] * 5 + [1] * 4
    assert dataset.validation.labels.tolist() == [0, 0, 1]
    assert dataset.train.labels.dtype == np.int64
    assert (dataset.name, dataset.root, dataset.size) == ("pets", root, 16)


def test_images_are_read_only_views_of_one_map(pets):
    dataset = load(pets[0], size=16)
    for split in dataset.train, dataset.validation:
        assert isinstance(split.images, np.memmap)
        assert not split.images.flags.writeable
        assert not split.images.flags.owndata


def test_a_second_start_decodes_nothing(pets, decoded):
    root, truth = pets
    load(root, size=16)
    assert len(decoded) == 12
    assert_holds(load(root, size=16), truth)
    assert len(decoded) == 12


def test_only_changed_and_new_files_are_decoded(pets, decoded):
    root, truth = pets
    load(root, size=16)
    decoded.clear()
    truth |= {f"train/dog/{name}": pixels(16, 16, 3) for name in ("01.png", "new.png")}
    for name in "01.png", "new.png":
        Image.fromarray(truth[f"train/dog/{name}"]).save(root / "train/dog" / name)
    os.utime(root / "train/dog/01.png", ns=(0, 1))  # even when the clock went back
    (root / "train/cat/00.png").unlink()
    del truth["train/cat/00.png"]
    assert_holds(load(root, size=16), truth)
    assert sorted(decoded) == ["01.png", "new.png"]


def test_one_array_is_kept(pets, own_cache):
    root, _ = pets
    first = load(root, size=16)
    before = first.train.images.copy()
    (root / "train/cat/00.png").unlink()
    load(root, size=16)
    (folder,) = own_cache.iterdir()
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".json", ".npy"]
    np.testing.assert_array_equal(first.train.images, before)  # the old map still reads


def test_sizes_and_roots_have_their_own_folders(pets, tmp_path, own_cache):
    root, _ = pets
    assert load(root, size=8).train.images.shape == (9, 8, 8, 3)
    load(root, size=16)
    small_set(tmp_path / "other/pets", {"a": 2, "b": 2})
    load(tmp_path / "other/pets", size=16)
    names = sorted(path.name for path in own_cache.iterdir())
    assert len(names) == 3
    assert all(name.startswith(("pets-8-", "pets-16-")) for name in names)


def test_an_unsplit_data_set_is_split_by_seed(tmp_path, decoded):
    root = tmp_path / "pets"
    truth = small_set(root, {"cat": 20, "dog": 11})
    dataset = load(root, size=16)
    assert_holds(dataset, truth)
    assert np.bincount(dataset.train.labels).tolist() == [18, 9]
    assert np.bincount(dataset.validation.labels).tolist() == [2, 2]
    assert load(root, size=16).validation.paths == dataset.validation.paths
    decoded.clear()
    other = load(root, size=16, split_seed=1)
    assert_holds(other, truth)
    assert other.validation.paths != dataset.validation.paths
    assert decoded == []  # another seed reorders the rows


def test_a_damaged_cache_is_made_anew(pets, own_cache):
    root, truth = pets
    load(root, size=16)
    (folder,) = own_cache.iterdir()
    (array,) = folder.glob("*.npy")
    for damage in (
        lambda: array.write_bytes(array.read_bytes()[:500]),
        lambda: (folder / "manifest.json").write_text("{"),
        lambda: next(folder.glob("*.npy")).unlink(),
        lambda: (folder / "manifest.json").write_text(json.dumps({"format": -1})),
    ):
        damage()
        assert_holds(load(root, size=16), truth)


def test_remains_of_a_killed_process_are_removed(pets, own_cache):
    root, _ = pets
    load(root, size=16)
    (folder,) = own_cache.iterdir()
    (folder / ".images-dead.1.tmp.npy").write_bytes(b"half")
    (folder / "images-dead.npy").write_bytes(b"orphan")
    (root / "train/cat/00.png").unlink()
    load(root, size=16)
    assert not list(folder.glob("*dead*"))


def test_an_unreadable_image_stops_and_leaves_nothing_half_written(pets, own_cache):
    root, _ = pets
    (root / "train/cat/01.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"train/cat/01\.png cannot be .* or use --skip-bad$"):
        load(root, size=16)
    (folder,) = own_cache.iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_skipped_images_are_listed_remembered_and_tried_again(pets, decoded):
    root, truth = pets
    (root / "train/cat/01.png").write_bytes(b"broken")
    (root / "validation/cat/note.txt").write_text("")
    del truth["train/cat/01.png"]
    for _ in range(2):
        dataset = load(root, size=16, skip_bad=True)
        assert dataset.skipped == ("train/cat/01.png", "validation/cat/note.txt")
        assert_holds(dataset, truth)
        assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4
    assert len(decoded) == 12
    with pytest.raises(UserError, match=r"note\.txt is not an image"):
        load(root, size=16)
    (root / "validation/cat/note.txt").unlink()
    with pytest.raises(UserError, match=r"01\.png cannot be decoded"):
        load(root, size=16)
    decoded.clear()
    truth["train/cat/01.png"] = pixels(16, 16, 3)
    Image.fromarray(truth["train/cat/01.png"]).save(root / "train/cat/01.png")
    mended = load(root, size=16, skip_bad=True)
    assert_holds(mended, truth)
    assert mended.skipped == ()
    assert decoded == ["01.png"]


def test_a_class_left_without_images_is_named(pets):
    root, _ = pets
    (root / "validation/dog/00.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"class dog in .* no readable image left for validation"):
        load(root, size=16, skip_bad=True)


def test_a_cache_that_cannot_be_written(pets, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .* set CONVLENS_CACHE to a folder"):
        load(pets[0], size=16, cache_dir=tmp_path / "file")


def test_a_full_disk(pets, monkeypatch, own_cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write_header", full)
    with pytest.raises(UserError, match="No space left on device"):
        load(pets[0], size=16)
    (folder,) = own_cache.iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_size_of_nothing_is_refused(pets):
    with pytest.raises(UserError, match="--size 0"):
        load(pets[0], size=0)


def test_processes_starting_at_once_agree(pets, own_cache):
    root, truth = pets
    program = (
        "import sys, zlib; from convlens.data.cache import load; d = load(sys.argv[1], size=16); "
        "print(zlib.crc32(d.train.images.tobytes() + d.validation.images.tobytes()))"
    )
    command = [sys.executable, "-c", program, str(root)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {int(process.communicate(timeout=60)[0]) for process in running}
    assert sums == {zlib.crc32(b"".join(truth[path].tobytes() for path in sorted(truth)))}
    (folder,) = own_cache.iterdir()
    assert len(list(folder.glob("*.npy"))) == 1


def test_open_dataset_on_the_toy_set(toy_data, monkeypatch):
    monkeypatch.setenv("CONVLENS_DATA", str(toy_data))
    dataset = open_dataset()
    assert dataset.describe() == (
        f"toy: 5 classes, 60 training and 20 validation images of 64×64 ({toy_data})"
    )
