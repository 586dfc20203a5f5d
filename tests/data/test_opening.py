"""Which data set is opened where none is named."""

from convlens.data import DEMO, open_dataset, resolve


def test_resolution_order(tmp_path, monkeypatch, own_cache):
    made = []
    monkeypatch.setattr("convlens.data.tools.demo.make_demo", made.append)
    monkeypatch.chdir(tmp_path)
    root, source = resolve()
    assert source == DEMO
    assert made == [root]
    assert root.parent == own_cache
    (tmp_path / "data/caltech101-64").mkdir(parents=True)
    assert resolve() == (tmp_path / "data/caltech101-64", "data/caltech101-64")
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path / "env"))
    assert resolve() == (tmp_path / "env", "CONVLENS_DATA")
    assert resolve(tmp_path / "given") == (tmp_path / "given", "as given")
    assert resolve("given") == (tmp_path / "given", "as given")


def test_open_dataset_on_the_toy_set(toy_data, monkeypatch):
    monkeypatch.setenv("CONVLENS_DATA", str(toy_data))
    dataset = open_dataset()
    assert dataset.describe() == (
        f"toy: 5 classes, 60 training and 20 validation images of 64×64, squashed if not square "
        f"({toy_data})"
    )
