"""`convlens explore`."""

import sys

from convlens.explorer import serving


def test_explore_serves_or_exports(toy_weights, toy_data, tmp_path, tell, monkeypatch):
    asked = []
    monkeypatch.setattr(serving, "serve", lambda explorer, *options: asked.append(options))
    told = tell("explore", toy_weights, "--data", toy_data, "--port", 0)
    assert told.startswith(f"opening    {toy_weights}\ndata set   toy: 5 classes")
    assert asked == [("127.0.0.1", 0, "", False)]
    image, page = toy_data / "train/blue_disc/image_0001.png", tmp_path / "page.html"
    command = ("explore", toy_weights, toy_weights, "--data", toy_data, "--export", page)
    told = tell(*command, "--images", image)
    assert f"wrote      {page}" in told
    assert "page       page.html has " in told  # without a terminal too it says how it goes on
    assert page.read_bytes().startswith(b"<!doctype html>")


def test_explore_tells_what_is_missing(toy_weights, toy_data, refuse, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    told = refuse("explore", toy_weights, "--data", toy_data)
    assert told == "explore needs uvicorn; install it with `pip install starlette uvicorn`"


def test_an_address_that_is_taken_is_told_with_its_options(toy_weights, toy_data, refuse):
    told = refuse("explore", toy_weights, "--data", toy_data, "--port", 99999)
    assert told == "--port 99999 is out of range; give 0 to 65535"
