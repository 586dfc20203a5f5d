import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import Reading, cache
from convlens.data.cache import load
from convlens.data.decode import decode_bytes, open_file
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
    found = dict(
        zip(
            dataset.train.paths + dataset.validation.paths,
            [*dataset.train.images, *dataset.validation.images],
            strict=True,
        )
    )
    assert found.keys() == truth.keys()
    for path in truth:
        np.testing.assert_array_equal(found[path], truth[path], path)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names = []

    def spy(content, path, size, fit):
        names.append(Path(path).name)
        return decode_bytes(content, path, size, fit)

    monkeypatch.setattr(cache, "decode_bytes", spy)
    return names


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
    other = load(root, size=16, reading=Reading(split_seed=1))
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
    with pytest.raises(
        UserError, match=r"train/cat/01\.png is text, not an image; remove it or use `skip_bad`$"
    ) as problem:
        load(root, size=16)
    assert problem.value.options == ("skip_bad",)
    (folder,) = own_cache.iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_skipped_images_are_listed_remembered_and_tried_again(pets, decoded):
    root, truth = pets
    (root / "train/cat/01.png").write_bytes(b"broken")
    (root / "validation/cat/note.txt").write_text("")
    del truth["train/cat/01.png"]
    for _ in range(2):
        dataset = load(root, size=16, reading=Reading(skip_bad=True))
        assert dataset.skipped == ("train/cat/01.png", "validation/cat/note.txt")
        assert_holds(dataset, truth)
        assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4
    assert len(decoded) == 12
    with pytest.raises(UserError, match=r"note\.txt is empty, not an image"):
        load(root, size=16)
    (root / "validation/cat/note.txt").unlink()
    with pytest.raises(UserError, match=r"01\.png is text, not an image"):
        load(root, size=16)
    decoded.clear()
    truth["train/cat/01.png"] = pixels(16, 16, 3)
    Image.fromarray(truth["train/cat/01.png"]).save(root / "train/cat/01.png")
    mended = load(root, size=16, reading=Reading(skip_bad=True))
    assert_holds(mended, truth)
    assert mended.skipped == ()
    assert decoded == ["01.png"]


def swap(first: Path, second: Path) -> None:
    """Exchange two files of equal size and give each the other's time."""
    content, other = first.read_bytes(), second.read_bytes()
    times = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    first.write_bytes(other)
    second.write_bytes(content)
    os.utime(first, ns=(times[0],) * 2)
    os.utime(second, ns=(times[1],) * 2)


def swap_by_renaming(first: Path, second: Path) -> None:
    time = first.stat().st_mtime_ns
    first.rename(first.with_suffix(".away"))
    second.rename(first)
    first.with_suffix(".away").rename(second)
    os.utime(first, ns=(time, time))
    os.utime(second, ns=(time, time))


@pytest.mark.parametrize("exchange", [swap, swap_by_renaming])
def test_files_swapped_with_equal_size_and_time_are_decoded_again(tmp_path, decoded, exchange):
    for name, color in ("cat", 10), ("dog", 200):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (16, 16), color + i).save(tmp_path / name / f"{i}.bmp")
            os.utime(tmp_path / name / f"{i}.bmp", ns=(10**9, 10**9))
    before = load(tmp_path, size=16)
    decoded.clear()
    time.sleep(0.02)  # a system's clock ticks a hundred times a second
    exchange(tmp_path / "cat/0.bmp", tmp_path / "dog/0.bmp")
    after = load(tmp_path, size=16)
    assert sorted(decoded) == ["0.bmp", "0.bmp"]
    assert after.old_digest == before.old_digest
    assert after.digest != before.digest
    assert not after.is_known_by(before.digest)


def test_a_copy_is_known_by_its_digest_and_by_that_of_version_0_1(pets, tmp_path):
    dataset = load(pets[0], size=16)
    copy = load(shutil.copytree(pets[0], tmp_path / "copy"), size=8)
    assert (copy.digest, copy.old_digest) == (dataset.digest, dataset.old_digest)
    names = "\n".join(
        f"{path}\0{(pets[0] / path).stat().st_size}"
        for path in dataset.train.paths + dataset.validation.paths
    )
    assert copy.old_digest == hashlib.sha256(names.encode()).hexdigest()[:16]
    for digest in "", dataset.digest, dataset.old_digest:
        assert copy.is_known_by(digest)
    assert not copy.is_known_by("0123456789abcdef")


@pytest.fixture
def share(monkeypatch):
    """`share.problem` is what reading 01.png of any class ends with, if it is not None."""

    class Share:
        problem: OSError | None = OSError(errno.EIO, "Input/output error")

        def open(self, path):
            if self.problem is not None and Path(path).name == "01.png":
                raise self.problem
            return open_file(path)

    share = Share()
    monkeypatch.setattr(sys.modules["convlens.data.decode"], "open_file", share.open)
    return share


def test_a_read_error_that_passes_is_told_and_not_remembered(pets, share, told, capsys):
    root, truth = pets
    with pytest.raises(
        UserError, match=r"01\.png cannot be read \(Input/output error\); try again"
    ):
        load(root, size=16)
    rest = {path: pixels for path, pixels in truth.items() if not path.endswith("01.png")}
    for _ in range(2):
        dataset = load(root, size=16, reading=Reading(skip_bad=True))
        assert_holds(dataset, rest)
        assert dataset.skipped == tuple(sorted(truth.keys() - rest.keys()))
        assert "left out" in (out := capsys.readouterr().out)
        assert f"{root}/train/cat/01.png cannot be read (Input/output error)" in out
    share.problem = None
    dataset = load(root, size=16, reading=Reading(skip_bad=True))
    assert_holds(dataset, truth)
    assert dataset.skipped == ()
    assert capsys.readouterr().out == ""


def test_what_still_cannot_be_read_has_nothing_written_anew(pets, share, told, capsys, own_cache):
    root, _ = pets
    reading = Reading(skip_bad=True)
    load(root, size=16, reading=reading)
    kept = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npy")}
    assert kept and "left out" in capsys.readouterr().out
    load(root, size=16, reading=reading)
    assert {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npy")} == kept
    assert "left out" in capsys.readouterr().out
    share.problem = None
    assert not load(root, size=16, reading=reading).skipped


def test_a_bound_on_pixels_is_not_remembered_and_no_number_is_told_as_such(pets, monkeypatch):
    root, truth = pets
    reading = Reading(skip_bad=True)
    for chosen in "abc", "-1", "0":
        monkeypatch.setenv("CONVLENS_MAX_PIXELS", chosen)
        with pytest.raises(
            UserError, match=f"^CONVLENS_MAX_PIXELS is '{chosen}'; set it to a numb"
        ):
            load(root, size=16, reading=reading)
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "1")
    with pytest.raises(UserError, match=r"no image in .* can be read"):
        load(root, size=16, reading=reading)
    monkeypatch.delenv("CONVLENS_MAX_PIXELS")
    assert_holds(load(root, size=16, reading=reading), truth)


def test_a_read_error_spares_what_is_decoded_already(pets, share):
    root, truth = pets
    share.problem = None
    load(root, size=16)
    share.problem = OSError(errno.ESTALE, "Stale file handle")
    assert_holds(load(root, size=16), truth)


def test_a_split_left_without_a_class_is_told(pets, told, capsys):
    root, _ = pets
    for path in root.glob("validation/cat/*.png"):
        path.write_bytes(b"broken")
    load(root, size=16, reading=Reading(skip_bad=True))
    said = capsys.readouterr().out
    assert "1 class has no readable validation image: cat" in said
    assert "no readable image" not in said


def test_a_class_left_without_images_is_told_and_keeps_its_label(pets, told, capsys):
    root, _ = pets
    for path in root.glob("*/cat/*.png"):
        path.write_bytes(b"broken")
    dataset = load(root, size=16, reading=Reading(skip_bad=True))
    assert dataset.classes == ("cat", "dog")
    assert {*dataset.train.labels.tolist(), *dataset.validation.labels.tolist()} == {1}
    assert "1 class has no readable image: cat" in capsys.readouterr().out
    for path in root.glob("*/dog/*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"no image in .* can be read"):
        load(root, size=16, reading=Reading(skip_bad=True))


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
    with pytest.raises(UserError, match="`size` 0 is too small") as problem:
        load(pets[0], size=0)
    assert problem.value.options == ("size",)


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
