"""A static copy holds what the server answers, byte for byte, or nothing at all."""

import io
import json
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
    with pytest.raises(UserError, match=r"bad\.png: this is not an image"):
        write_page(explorer, tmp_path / "page", [tmp_path / "bad.png"])
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


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
