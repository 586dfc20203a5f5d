"""A copy in one file holds what the server answers, byte for byte, or nothing at all."""

import base64
import gzip
import io
import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.errors import UserError
from convlens.explorer.answers import answer, page_files
from convlens.explorer.export import _webp, write_page
from convlens.explorer.export_progress import ExportProgress
from convlens.explorer.inside import Explorer


def packed_in(page: Path) -> tuple[dict, bytes]:
    """The head of a page's pack, and the bytes behind it."""
    (text,) = re.findall(rb'<script type="text/plain" id="copy">(.*?)</script>', page.read_bytes())
    content = gzip.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(content[:4], "little")
    return json.loads(content[4:end]), content[end:]


def files_in(page: Path) -> dict[str, bytes]:
    head, content = packed_in(page)
    return {
        path: content[file["start"] : file["start"] + file["length"]]
        for path, file in head["files"].items()
    }


@pytest.mark.parametrize("height", [16_383, 16_384])
def test_photographs_that_are_too_many_for_webp_are_a_png(height):
    pixels = np.zeros((height, 2, 3), np.uint8)
    packed = _webp(pixels)
    assert packed.kind == ("image/webp" if height == 16_383 else "image/png")
    with Image.open(io.BytesIO(packed.body)) as picture:
        assert picture.size == (2, height)


def site_of(page: Path) -> dict:
    return json.loads(files_in(page)["api/site.json"])


def test_every_answer_is_what_the_server_answers(explorer: Explorer, tmp_path: Path):
    page = write_page(explorer, tmp_path / "deep" / "page.html")
    head, _ = packed_in(page)
    files = files_in(page)
    site = json.loads(files.pop("api/site.json"))
    for path in set(files) - {"images/0/training", "images/validation.png"}:
        expected = answer(explorer, path).body
        if "/deconvolution-" in path:  # made in batches there, so equal but for rounding
            both = files[path], expected
            ours, theirs = (np.asarray(Image.open(io.BytesIO(body)), int) for body in both)
            assert abs(ours - theirs).max() <= 1
        else:
            assert expected == files[path], path
    live = json.loads(answer(explorer, "api/site.json").body)
    assert site["static"] is True
    for same in "runs", "data", "methods", "version", "upload":
        assert site[same] == live[same]

    # a few images are prepared whole, the rest of the mistakes can be opened
    evaluation = json.loads(files["api/0/evaluation.json"])
    columns = (evaluation[key] for key in ("labels", "predicted", "probability"))
    wrong = sorted(
        (-share, int(row))
        for row, (label, predicted, share) in enumerate(zip(*columns, strict=True))
        if label != predicted
    )
    assert len(wrong) > 4  # for nobody has trained the network
    names = [image["id"] for image in site["images"]]
    assert {f"v{row}" for _, row in wrong} <= set(names)
    assert {f"v{row}" for _, row in wrong[:4]} <= set(site["examples"]) == set(site["targets"])
    for name in names:
        assert f"images/0/{name}-loaded.png" in files
        assert head["labels"][0][name] == evaluation["labels"][int(name[1:])]
    for name in site["examples"]:
        row = int(name[1:])
        wanted = {evaluation["labels"][row], evaluation["predicted"][row]}
        assert set(site["targets"][name]) == wanted
        for method in site["runs"][0]["methods"]:
            slow = method in ("integrated-gradients", "occlusion")
            made = {evaluation["predicted"][row]} if slow else wanted
            there = {target for target in wanted if f"api/0/{name}/{method}-{target}.png" in files}
            assert there == made
        strongest = json.loads(answer(explorer, f"api/0/{name}/layers.json").body)[0]["order"][0]
        assert f"api/0/{name}/deconvolution-0-{strongest}.png" in files

    # all training images that answers name lie in one picture
    related = set()
    for path, body in files.items():
        if "patches-" in path:
            related |= {patch["image"] for of_map in json.loads(body)["maps"] for patch in of_map}
        if path.endswith("neighbors.json"):
            related |= {each["image"] for each in json.loads(body)}
    assert related == set(head["training"][0])
    sheet = np.asarray(Image.open(io.BytesIO(files["images/0/training"])), float)
    side = head["sizes"][0]["thumbnail"]
    assert side == 16
    place = len(related) // 2
    row, column = divmod(place, sheet.shape[1] // side)
    pixels = explorer.pixels(head["training"][0][place], explorer.networks[0])
    drawn = sheet[row * side :, column * side :][:side, :side]
    assert abs(drawn.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 12  # it is compressed


def test_the_page_s_own_files_are_in_it_and_nothing_is_asked_for(explorer, toy_data, tmp_path):
    image = toy_data / "train" / "blue_disc" / "image_0001.png"
    page = write_page(explorer, tmp_path / "page.html", [image]).read_text()
    (maps,) = re.findall('<script type="importmap">(.*?)</script>', page)
    scripts = json.loads(maps)["imports"]
    own = {f"page/{name}" for name in page_files() if name.endswith(".js")}
    assert set(scripts) == own
    for name, address in scripts.items():
        kind, _, text = address.partition(",")
        assert kind == "data:text/javascript;base64", name
        named = re.findall(r'(?:from |import\()"(.*?)"', base64.b64decode(text).decode())
        assert set(named) <= own
    bare = page.replace(maps, "")
    assert re.findall(r'(?:src|href)="(?!data:)(.*?)"', bare) == []


def test_images_of_the_user_s_own(explorer: Explorer, tmp_path: Path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    page = write_page(explorer, tmp_path / "page.html", [tmp_path / "mine.png"])
    (image,) = site_of(page)["images"]
    assert (image["path"], image["label"]) == ("mine.png", None)
    assert image["id"].startswith("u")
    assert f"images/0/{image['id']}-loaded.png" in files_in(page)


def test_a_page_is_replaced_and_nothing_else_is(explorer: Explorer, tmp_path: Path):
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "red").save(image)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "other.txt").write_text("all my work")
    for _ in range(2):  # a folder takes it as its index.html, and so again
        assert write_page(explorer, folder, [image]) == folder / "index.html"
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "other.txt"]

    precious = tmp_path / "thesis.html"
    precious.write_text("<!doctype html><title>all my work</title>")
    for out in precious, image / "page.html":
        with pytest.raises(UserError, match="something else than an exported page"):
            write_page(explorer, out, [image])
    assert "all my work" in precious.read_text()


def test_a_failure_leaves_the_old_page_and_no_other(explorer: Explorer, tmp_path, monkeypatch):
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "red").save(image)
    page = write_page(explorer, tmp_path / "page.html", [image])
    before = page.read_bytes()
    monkeypatch.setattr(
        "convlens.explorer.export.document", lambda *_: (_ for _ in ()).throw(OSError(28))
    )
    with pytest.raises(OSError):
        write_page(explorer, page, [image])
    assert page.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "page.html"]


def test_without_a_terminal_a_line_tells_how_far_it_is(caplog, monkeypatch):
    monkeypatch.setattr(ExportProgress, "PAUSE", -1.0)
    with caplog.at_level(logging.INFO), ExportProgress() as progress:
        progress.at("preparing views", 1500, 4000)
    assert caplog.messages == ["page       preparing views: 1,500 of 4,000"]


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
    assert len(site_of(out)["images"]) == 1


def test_an_image_s_name_may_be_anything(explorer: Explorer, tmp_path: Path):
    names = [b"caf\xe9.png", b"\x1b[31mred\n.png", "\u202egnp.exe.png".encode(), b"<b>&`.png"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for number, path in enumerate(paths):
        with path.open("wb") as file:
            Image.new("RGB", (30, 20), (number, 0, 0)).save(file, "png")
    page = write_page(explorer, tmp_path / "page.html", paths)
    assert [image["path"] for image in site_of(page)["images"]] == [
        "caf\\udce9.png",
        "\x1b[31mred\n.png",
        "\u202egnp.exe.png",
        "<b>&`.png",
    ]


def test_two_runs_are_written_side_by_side(own, vgg, unet, tmp_path: Path):
    """Of one that the page cannot run, all that is shown of the images is prepared."""
    explorer = own(vgg, unet)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    page = write_page(explorer, tmp_path / "page.html", [tmp_path / "mine.png"])
    files, (head, _) = files_in(page), packed_in(page)
    site = site_of(page)
    (image,) = site["examples"]
    assert site["upload"] is None
    assert [network is None for network in head["networks"]] == [False, True]
    for run in 0, 1:
        assert f"api/{run}/patches-0.json" in files
        assert f"api/{run}/embedding.json" in files
        for path in ("prediction.json", "layers.json", "layer-0.png"):
            assert (f"api/{run}/{image}/{path}" in files) == (run == 1)
