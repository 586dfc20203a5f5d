"""A data set as folders: a folder per class, within a folder per split or not."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from convlens.data.decode import complaint
from convlens.data.listing import File, Listing, known_by, make_listing, named, regular_file
from convlens.data.names import (
    CONTROL,
    IMAGE_SUFFIXES,
    NOT_UTF8,
    TEST,
    TRAIN,
    VALIDATION,
    class_name,
    holds,
    is_hidden,
    split_called,
    subfolders,
)
from convlens.data.own import is_own
from convlens.data.reading import Reading
from convlens.data.walk import files_below
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode

SUGGESTED_DEPTH = 2  # how far below a folder the one is looked for that may be meant
WHOLE = {TRAIN: ""}  # the splits of a data set that is not split: all in one place


@dataclass
class _Found:
    """What lies in the class folders; paths are relative to the data set's root.

    foreign: files that are no images, each with what is wrong with it. inside: of each class folder
    that holds folders the first of these, and whether it holds images too.
    """

    files: list[File] = field(default_factory=list)
    foreign: list[tuple[str, str]] = field(default_factory=list)
    inside: list[tuple[str, bool]] = field(default_factory=list)
    own: list[str] = field(default_factory=list)


def list_folders(root: Path, reading: Reading) -> Listing:
    """List the images under `root`, as `sources.scan` does. Raises UserError and OSError."""
    splits = split_folders(root, reading.nested)
    found = _Found()
    known: dict[tuple[str, str], str] = {}
    problems: list[str] = []
    empty: set[str] = set()
    for split, top in splits.items():
        for each in subfolders(root / top):
            folder, name = f"{top}/{each}".lstrip("/"), class_name(each)
            if is_own(root / folder):
                found.own.append(as_unicode(folder))
                continue
            problems += _unfit(root, folder, known.setdefault((split, name), folder), name)
            if not _list_class(root, folder, (name, split), reading.nested, found):
                empty.add(name)
    if found.inside:
        meant = suggestion(root)
        hint = f" (did you mean `data` {meant}?)" if meant else ""
        problems += [
            f"{root / path} is a folder inside a class folder; images must lie directly in it, or "
            f"use `nested`{hint}"
            for path, _ in found.inside
        ]
    if not reading.skip_bad:
        problems += [
            f"{root / path} {why} or use `skip_bad`" for path, why in sorted(found.foreign)
        ]
    if not found.files and not found.inside and not problems:
        problems = [_nothing(root, splits)]
    names = {file.class_name for file in found.files}
    if len(names) > 1 and splits == WHOLE and all(map(split_called, names)):
        problems = [
            f"{' and '.join(sorted(names))} in {root} hold images and no folder per class; put the "
            "images of each class into a folder of its own, or give the list that says what they "
            "show"
        ]
    listing = make_listing(
        root, root, found.files, is_split=splits != WHOLE, problems=tuple(problems)
    )
    notes = _left_over(root, splits)
    filled = {file.split for file in found.files}
    notes += [
        f"note       {top}/ holds no image, as if it were not there"
        for split, top in splits.items()
        if split not in filled and splits != WHOLE
    ]
    if lost := sorted(empty.difference(listing.classes)):
        holds_none = "folder holds" if len(lost) == 1 else "folders hold"
        notes.append(f"note       {len(lost):,} class {holds_none} no image: {named(lost)}")
    skipped = sorted(path for path, _ in found.foreign) if reading.skip_bad else ()
    return replace(listing, skipped=tuple(skipped), own=tuple(found.own), remarks=tuple(notes))


def split_folders(root: Path, nested: bool = False) -> Mapping[str, str]:
    """From each split that there is to the name of its folder; WHOLE where nothing is split.

    A class may well be called "train" or "test": a folder of that name is a split where it holds
    folders and no other class lies beside it, or where others are called like the other splits.
    nested: whether images anywhere below a folder make it a class.

    Raises UserError where two folders are called like one split, and OSError.
    """
    called: dict[str, list[str]] = {}
    names = subfolders(root)
    for name in names:
        if (split := split_called(name)) is not None:
            called.setdefault(split, []).append(name)
    filled = {split for split, alike in called.items() if any(subfolders(root / n) for n in alike)}
    if TRAIN in called and len(called) > 1:
        splits = {split: called[split] for split in (TRAIN, VALIDATION, TEST) if split in called}
        both = [name for alike in splits.values() for name in alike]
        if not filled and any(any(_images(root / name)) for name in both):
            return WHOLE
        if TEST not in filled:  # images without classes, to be predicted
            splits.pop(TEST, None)
    else:
        splits = {split: called[split] for split in (TRAIN, VALIDATION, TEST) if split in filled}
        others = [name for name in names if not any(name in alike for alike in splits.values())]
        if any(_is_class(root / name, nested) for name in others):
            return WHOLE
    for alike in splits.values():
        if len(alike) > 1:
            raise UserError(f"{root} has both {' and '.join(alike)}; keep one of them")
    return {split: alike[0] for split, alike in splits.items()} or WHOLE


def _is_class(folder: Path, nested: bool) -> bool:
    """Whether images lie in it that ConvLens did not write."""
    folders = (each for each, *_ in os.walk(folder)) if nested else (folder,)
    return any(any(_images(Path(each))) for each in folders if not is_own(each))


def _images(folder: Path) -> Iterator[str]:
    """The names of the images that lie directly in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_hidden(entry.name) and entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield entry.name


def _list_class(
    root: Path, folder: str, belongs: tuple[str, str], nested: bool, found: _Found
) -> bool:
    """Add what lies in a class folder; whether there was anything but what ConvLens wrote.

    belongs: its class and its split.
    """
    before = len(found.files) + len(found.foreign)
    if nested:
        start = f"{root}{os.sep}"

        def refuse(problem: OSError) -> None:
            raise problem

        below = files_below(
            root / folder,
            refuse,
            lambda path: found.own.append(as_unicode(path[len(start) :])),
            passed=(root, (root / folder).parent),
        )
        for path in below:
            _sort(root, path[len(start) :].replace(os.sep, "/"), belongs, found)
        return len(found.files) + len(found.foreign) > before
    folders = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path = f"{folder}/{entry.name}"
            if not holds(entry.is_dir):
                _sort(root, path, belongs, found)
            elif is_own(entry.path):
                found.own.append(as_unicode(path))
            else:
                folders.append(as_unicode(path))
    any_files = len(found.files) + len(found.foreign) > before
    if folders:
        found.inside.append((min(folders), any_files))
    return any_files or bool(folders)


def _sort(root: Path, path: str, belongs: tuple[str, str], found: _Found) -> None:
    """Add a file to the images or to what is none."""
    name = as_unicode(path)
    file = regular_file(os.path.join(root, path))
    if file is None or not path.lower().endswith(IMAGE_SUFFIXES):
        found.foreign.append((name, complaint(root / path)))
    elif NOT_UTF8.search(name.rpartition("/")[2]):
        found.foreign.append((name, "has a name that is not UTF-8; rename it"))
    else:
        found.files.append(File(name, *belongs, *known_by(file)))


def _unfit(root: Path, folder: str, other: str, name: str) -> list[str]:
    """What is wrong with the name of a class folder. other: the first one that has it."""
    path = visible(root / as_unicode(folder))
    if NOT_UTF8.search(name):
        return [f"class folder {path} has a name that is not UTF-8; rename it"]
    if CONTROL.search(name):
        return [f"class folder {path} has a control character in its name; rename it"]
    if other != folder:
        return [
            f"{path} is there twice, its name written in one and in several characters a letter; "
            "put the images into one of both folders"
        ]
    return []


def _nothing(root: Path, splits: Mapping[str, str]) -> str:
    """What to say of a folder without a single image in a class."""
    sentence = f"no images in {root}; it must hold a folder per class"
    loose = sum(1 for top in splits.values() for _ in _images(root / top))
    if meant := suggestion(root):
        return f"{sentence} (did you mean `data` {meant}?)"
    if loose:
        sentence += ", and the images that lie loose in it belong into such folders"
    return sentence


def _left_over(root: Path, splits: Mapping[str, str]) -> list[str]:
    """Lines on images that are in no class."""
    notes = []
    for top in sorted({"", *splits.values()}):
        count = sum(1 for _ in _images(root / top))
        if count:
            lie = "image lies" if count == 1 else "images lie"
            notes.append(f"note       {count:,} {lie} in no class folder of {root / top}; left out")
    if splits == WHOLE:
        return notes
    for name in subfolders(root):
        if split_called(name) is None and _holds_images(root / name):
            notes.append(
                f"note       {root / name} is called like no split (train, validation, test); left "
                "out"
            )
        elif split_called(name) == TEST and TEST not in splits:
            holds = "no folder per class; `convlens predict` answers for its images"
            if not any(_images(root / name)):
                holds = "no image; left out"
            notes.append(f"note       {root / name} holds {holds}")
    return notes


def _holds_images(folder: Path) -> bool:
    """Whether images lie in a folder that ConvLens did not write, or in folders within it."""
    if is_own(folder):
        return False
    return any(_images(folder)) or any(any(_images(folder / name)) for name in _folders_in(folder))


def suggestion(root: Path) -> Path | None:
    """The folder near `root` that a person may mean by it: the only data set there; else None.

    A split's folder, or a class's within one, is meant to be what holds the splits.
    """
    for below in (root, root.parent):
        if split_called(below.name) is not None and _looks_like_splits(below.parent):
            return below.parent
    level: Sequence[Path] = [root]
    for _ in range(SUGGESTED_DEPTH):
        level = [folder / name for folder in level for name in _folders_in(folder)][:1000]
        if candidates := [folder for folder in level if _looks_like_a_data_set(folder)]:
            return candidates[0] if len(candidates) == 1 else None
    return None


def _folders_in(folder: Path) -> list[str]:
    try:
        here = folder.resolve()
        return [
            name
            for name in subfolders(folder)
            if not is_own(folder / name) and not here.is_relative_to((folder / name).resolve())
        ]
    except OSError:
        return []


def _looks_like_splits(folder: Path) -> bool:
    """Whether it holds train/ and another split, with a class in train/ that holds an image."""
    names = {split_called(name): name for name in _folders_in(folder)}
    others = names.keys() & {VALIDATION, TEST}
    return bool(others) and TRAIN in names and _looks_like_classes(folder / names[TRAIN], 1)


def _looks_like_classes(folder: Path, least: int) -> bool:
    inside = [name for name in _folders_in(folder) if split_called(name) is None or least == 1]
    return sum(any(_images(folder / name)) for name in inside) >= least


def _looks_like_a_data_set(folder: Path) -> bool:
    return _looks_like_splits(folder) or _looks_like_classes(folder, 2)
