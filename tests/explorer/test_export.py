"""A static copy holds what the server answers, byte for byte, or nothing at all."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.errors import UserError
from convlens.explorer.answers import NotThere, answer, page_files
from convlens.explorer.export import write_page
from convlens.explorer.inside import Explorer


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), float)


def test_every_file_is_what_the_server_answers(explorer: Explorer, tmp_path: Path):
    out = write_page(explorer, tmp_path / "deep" / "page")
    files = files_in(out)
    own = page_files()
    assert {name: files.pop(name) for name in own} == {n: f.body for n, f in own.items()}
    site = json.loads(files.pop("api/site.json"))
    projections = [path for path in files if "/deconvolutions-" in path]
    for path in set(files) - set(projections):
        assert answer(explorer, path).body == files[path], path
    assert (site["static"], site["upload"]) == (True, None)
    live = json.loads(answer(explorer, "api/site.json").body)
    for same in "runs", "data", "methods", "version":
        assert site[same] == live[same]

    # all that the page may ask for is there
    names = [image["id"] for image in site["images"]]
    assert site["examples"] == names
    assert len(names) == len(set(names)) >= 4
    evaluation = json.loads(files["api/0/evaluation.json"])
    columns = (evaluation[key] for key in ("labels", "predicted", "probability"))
    wrong = [
        (-share, f"v{row}")
        for row, (label, predicted, share) in enumerate(zip(*columns, strict=True))
        if label != predicted
    ]
    assert len(wrong) > 4  # for nobody has trained the network
    assert {name for _, name in sorted(wrong)[:4]} <= set(names)
    for name in names:
        row = int(name[1:])
        wanted = {evaluation["labels"][row], evaluation["predicted"][row]}
        assert set(site["targets"][name]) == wanted
        for method in site["runs"][0]["methods"]:
            for target in wanted:
                assert f"api/0/{name}/{method}-{target}.png" in files
        statistics = json.loads(files[f"api/0/{name}/layers.json"])
        for number, layer in enumerate(site["runs"][0]["layers"]):
            assert f"api/0/{name}/layer-{number}.png" in files
            projected = f"api/0/{name}/deconvolutions-{number}.png"
            assert (projected in files) == (len(layer["shape"]) == 3)
            highest = statistics[number]["max"]
            if layer["filters"]:
                assert all(f"api/0/filter-{number}-{m}.json" in files for m in range(len(highest)))
            if projected not in files or name != names[0]:
                continue
            all_of_them = pixels_of(files[projected])
            for map_ in range(0, len(highest), 7):
                row, column = divmod(map_, statistics[number]["columns"])
                found = all_of_them[16 * row :, 16 * column :][:16, :16]
                expected = answer(explorer, f"api/0/{name}/deconvolution-{number}-{map_}.png")
                # made in batches there, so equal but for rounding
                np.testing.assert_allclose(found, pixels_of(expected.body), atol=1)
    for path, body in files.items():
        if "patches-" in path:
            for of_map in json.loads(body)["maps"]:
                assert all(f"images/0/{patch['image']}.png" in files for patch in of_map)
        if path.endswith("neighbors.json"):
            assert all(f"images/0/{each['image']}.png" in files for each in json.loads(body))


def test_images_of_the_user_s_own(explorer: Explorer, tmp_path: Path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    out = write_page(explorer, tmp_path / "page", [tmp_path / "mine.png"])
    (image,) = json.loads((out / "api" / "site.json").read_text())["images"]
    assert (image["path"], image["label"]) == ("mine.png", None)
    assert image["id"].startswith("u")
    assert (out / "images/0" / f"{image['id']}.png").exists()


def test_a_page_is_replaced_and_nothing_else_is(explorer: Explorer, tmp_path: Path):
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "red").save(image)
    out = tmp_path / "page"
    out.mkdir()  # an empty folder will do
    write_page(explorer, out, [image])
    (out / "api" / "old.json").write_text("{}")
    write_page(explorer, out, [image])
    assert not (out / "api" / "old.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "page"]

    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("all my work")
    for folder in precious, image:
        with pytest.raises(UserError, match="something else than an exported page"):
            write_page(explorer, folder, [image])
    assert (precious / "chapter.txt").read_text() == "all my work"


def test_a_failure_leaves_the_old_page_and_no_other(explorer: Explorer, tmp_path, monkeypatch):
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "red").save(image)
    out = write_page(explorer, tmp_path / "page", [image])
    before = files_in(out)
    monkeypatch.setattr(
        "convlens.explorer.export._deconvolutions", lambda *_: (_ for _ in ()).throw(OSError(28))
    )
    with pytest.raises(OSError):
        write_page(explorer, out, [image])
    assert files_in(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "page"]


def test_an_image_that_cannot_be_read_is_named(explorer: Explorer, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad\.png: this is text, not an image"):
        write_page(explorer, tmp_path / "page", [tmp_path / "bad.png"])
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "link to nothing", "huge"])
def test_what_is_no_file_of_an_image_is_told_and_not_read(explorer, tmp_path, kind):
    path = tmp_path / "bad.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(10**12)
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else "nowhere.png")
    with pytest.raises(UserError, match=re.escape(str(path))) as told:
        write_page(explorer, tmp_path / "page", [path])
    assert "\n" not in str(told.value)
    assert not (tmp_path / "page").exists()


def test_pipes_and_devices_in_a_folder_do_not_hold_it_up(explorer, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (30, 20), "red").save(folder / "good.png")
    (folder / "sub.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png"):
        write_page(explorer, tmp_path / "page", [folder])
    (folder / "pipe.png").unlink()
    out = write_page(explorer, tmp_path / "page", [folder])
    assert len(json.loads((out / "api" / "site.json").read_text())["images"]) == 1


def test_an_image_s_name_may_be_anything(explorer: Explorer, tmp_path: Path):
    names = [b"caf\xe9.png", b"\x1b[31mred\n.png", "\u202egnp.exe.png".encode(), b"<b>&`.png"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for number, path in enumerate(paths):
        with path.open("wb") as file:
            Image.new("RGB", (30, 20), (number, 0, 0)).save(file, "png")
    out = write_page(explorer, tmp_path / "page", paths)
    site = json.loads((out / "api" / "site.json").read_bytes().decode("utf-8"))
    assert [image["path"] for image in site["images"]] == [
        "caf\\udce9.png",
        "\x1b[31mred\n.png",
        "\u202egnp.exe.png",
        "<b>&`.png",
    ]


def test_what_a_killed_export_left_is_removed_by_the_next(explorer: Explorer, tmp_path: Path):
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "red").save(image)
    process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    dead = process.stdout.strip()
    for name in f".page.{dead}.0123abcd.tmp", f".other.{dead}.0123abcd.tmp":
        (tmp_path / name / "api").mkdir(parents=True)
    alive = tmp_path / f".page.{os.getppid()}.0123abcd.tmp"
    alive.mkdir()
    write_page(explorer, tmp_path / "page", [image])
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "mine.png", "page"]


def test_an_export_that_is_killed_leaves_the_old_page(
    explorer: Explorer, toy_weights, toy_data, tmp_path
):
    image = toy_data / "train" / "blue_disc" / "image_0001.png"
    out = write_page(explorer, tmp_path / "page", [image])
    before = files_in(out)
    command = [
        sys.executable,
        "-m",
        "convlens",
        "explore",
        toy_weights,
        "--data",
        toy_data,
        "--images",
        image,
        "--export",
        out,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".page.*.tmp/api/0")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(tmp_path.glob(".page.*.tmp"))
    assert files_in(out) == before
    write_page(explorer, out, [image])
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_two_runs_are_written_side_by_side(own, vgg, unet, tmp_path: Path):
    explorer = own(vgg, unet)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    out = write_page(explorer, tmp_path / "page", [tmp_path / "mine.png"])
    files = files_in(out)
    for run in 0, 1:
        assert f"api/{run}/patches-0.json" in files
        assert f"api/{run}/embedding.json" in files
    with pytest.raises(NotThere):
        answer(explorer, "api/2/history.json")
