"""Names of files: readable, short, taken by every file system, and no two of them the same."""

import unicodedata

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from convlens.files import safe_name
from convlens.look import NamedImage, View
from convlens.look.views.names import file_name, own_names

# Parts of paths that come to the same, or nearly: by suffix, case, accent, and what is replaced.
PARTS = [
    "a",
    "A",
    "a-b",
    "cafe\u0301",
    "café",
    "cats",
    "Cats",
    "x?",
    "x*",
    "激" * 90,
    "\udcff",
    ".",
]
SUFFIXES = [".jpg", ".png", ".JPG", "", "."]
paths = st.builds(
    lambda folders, name, suffix: "/".join([*folders, name + suffix]),
    st.lists(st.sampled_from(PARTS), max_size=3),
    st.sampled_from(PARTS) | st.text(st.characters(exclude_characters="/\0"), min_size=1),
    st.sampled_from(SUFFIXES),
)


def files_of(paths: list[str]) -> list[str]:
    """What the views of images of these paths are called when they are drawn together."""
    wanted = [view(f"attribution-{image(path).stem}").name for path in paths]
    return [view(name).name for name in own_names(wanted, paths)]


def image(path: str) -> NamedImage:
    return NamedImage(path, np.zeros((1, 1, 3), np.uint8))


def view(name: str) -> View:
    return View(name, {}, draw=lambda: None)


def on_any_disk(name: str) -> str:
    """The same for names that are one file on some file system."""
    return unicodedata.normalize("NFC", name).casefold()


@given(st.lists(paths, unique=True, max_size=12))
@example(["a/cats/1.jpg", "a/cats/1.png", "b/cats/1.jpg"])
@example(["Cats/1.jpg", "cats/1.jpg"])
@example(["café/1.jpg", "cafe\u0301/1.jpg"])
@example(["a-b/c.jpg", "x/a/b-c.jpg", "a/b-c.jpg"])
def test_no_two_images_share_a_file(paths):
    names = files_of(paths)
    assert len(set(map(on_any_disk, names))) == len(paths)
    for name in names:
        assert len(name.encode()) <= 215
        assert not set(name) & set('/\\:*?"<>|\0')
    # an image's file does not depend on the order
    assert files_of(paths[::-1]) == names[::-1]


def test_a_name_that_no_other_wants_is_the_readable_one():
    assert files_of(["a/cats/1.jpg", "a/cats/2.jpg"]) == [
        "attribution-cats-1",
        "attribution-cats-2",
    ]
    clash = files_of(["a/cats/1.jpg", "b/cats/1.jpg", "b/dogs/1.jpg"])
    assert clash[2] == "attribution-dogs-1"
    assert clash[0] != clash[1]
    assert all(name.startswith("attribution-cats-1-") and len(name) < 32 for name in clash[:2])


def test_a_name_that_looks_like_anothers_with_its_hash_is_told_apart_too():
    first = ["a/cats/1.jpg", "b/cats/1.jpg"]
    guessed = own_names(["cats-1", "cats-1"], first)[0]
    names = own_names(["cats-1", "cats-1", guessed], [*first, f"x/{guessed}.jpg"])
    assert len(set(names)) == 3


def test_the_end_of_a_long_name_is_kept():
    one, other = (view(f"activations-{'激' * 78}-conv{number}").name for number in (1, 2))
    assert one.startswith("activations-激激") and one.endswith("激-conv1")
    assert other.endswith("激-conv2")
    assert view("x" * 215).name == "x" * 215  # short enough


def test_another_layer_or_choice_of_maps_has_another_name():
    assert file_name("patches", "relu2") == "patches-relu2"
    assert file_name("patches", "relu2", (3, 60)) == "patches-relu2-map3-60"
    many = [file_name("patches", "relu2", range(start, start + 13)) for start in (0, 1)]
    assert len(set(many)) == 2
    assert all(name.startswith("patches-relu2-13maps-") for name in many)
    targets = ["a/b", "a_b", "a\\b", "a?b", "a\0b", "ab.", "ab "]
    assert len({view(f"attribution-x-for-{target}").name for target in targets}) == len(targets)


def test_a_view_is_saved_under_the_name_that_it_has():
    seen = view("attribution-x-for-a/b")
    assert seen.name == safe_name("attribution-x-for-a/b") and "/" not in seen.name
