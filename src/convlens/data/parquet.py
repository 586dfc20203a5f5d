"""A data set as Parquet: files with the bytes of images and their labels, as Hugging Face has them.

The images are written into the cache as files, a row group at a time, with a list beside them that
`lists` reads. What the columns are: https://huggingface.co/docs/datasets/image_dataset; the names
of labels in the schema's metadata: https://huggingface.co/docs/datasets/about_dataset_features.
"""

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from convlens.data.decode import identify
from convlens.data.listing import Listing
from convlens.data.lists import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    Said,
    read_list,
    splits_said,
    wrong_label,
)
from convlens.data.names import is_hidden, split_called, subfolders
from convlens.data.packed import Room, kept_folder
from convlens.data.progress import progress_bar
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.escape import visible
from convlens.files import as_unicode, read_csv, write_csv

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDING = ".parquet"
LIST, BROKEN = "images.csv", "broken.csv"
IMAGE_COLUMNS = (*FILE_COLUMNS[0], "picture", "photo", "image_bytes", "bytes", "jpg", "png", "webp")
BATCH = 64  # rows in memory at once
A_FOLDER = 1000  # images in a folder of the cache
_SHARD = re.compile(r"(.+?)[-_.]\d{3,}(?:-of-(\d+))?([-_.][0-9a-f]+)?")


def shards(folder: Path, depth: int = 2) -> list[Path]:
    """The Parquet files of a data set: those in the folder, else those in folders that are called
    like splits, else those of the one folder that has any, as data/ or plain_text/; sorted by
    name."""
    if found := _parquet_in(folder):
        return found
    names = subfolders(folder)
    inside = [name for name in names if split_called(name)]
    if found := [each for name in inside for each in _parquet_in(folder / name)]:
        return found
    if depth == 0:
        return []
    parts = [part for name in names if (part := shards(folder / name, depth - 1))]
    return parts[0] if len(parts) == 1 else []


def _parquet_in(folder: Path) -> list[Path]:
    return [
        folder / name
        for name in sorted(os.listdir(folder))
        if name.lower().endswith(ENDING) and not is_hidden(name)
    ]


def read_parquet(source: Path, reading: Reading, progress: bool = True) -> Listing:
    """The listing of the images in a Parquet file, or in a folder of such.

    Rows without an image or a label are problems, or with `skip_bad` among `skipped`.

    Raises:
        UserError: where pyarrow is not installed, a file is damaged or there is no column of images
            or of labels.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(
            f"{source} is Parquet, which needs pyarrow; install it with `pip install pyarrow`",
            option="data",
        ) from None
    files = [source] if source.is_file() else shards(source)
    splits = _splits(files)
    version = json.dumps([(as_unicode(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
    columns = [reading.file_column, reading.label_column, reading.split_column]

    def fill(folder: Path) -> None:
        _Unpacked(source, folder, reading).write(splits, progress)

    folder = kept_folder(source, version, fill, json.dumps(columns) if any(columns) else "")
    plain = replace(Reading(), skip_bad=reading.skip_bad)
    listing = read_list(folder / LIST, plain)
    mine = tuple(p.replace(os.fspath(folder / LIST), os.fspath(source)) for p in listing.problems)
    listing = replace(listing, problems=mine)
    broken = [as_unicode(name) for name, _ in read_csv(folder / BROKEN)]
    reasons = [f"{name} {why}" for name, why in read_csv(folder / BROKEN)]
    notes = [
        f"note       {path} is of no split by its name; left out"
        for path in files
        if path not in splits
    ]
    notes += _lacking(files)
    if reading.skip_bad:
        listing = replace(listing, skipped=(*listing.skipped, *broken))
    else:
        problems = [f"{reason}; mend the file or use `skip_bad`" for reason in reasons]
        listing = replace(listing, problems=(*listing.problems, *problems))
    return replace(listing, source=source, shown=source, remarks=(*notes, *listing.remarks))


def _splits(files: Sequence[Path]) -> Mapping[Path, str]:
    """Each file's split, by its name or its folder's, as in train-00000-of-00003.parquet; "" where
    none says one. Of files that say none beside others that do nothing is known."""
    called = {path: _split_of(path) for path in files}
    known = {path: split for path, split in called.items() if split}
    return known if len(set(known.values())) > 1 else dict.fromkeys(known or called, "")


def _lacking(files: Sequence[Path]) -> list[str]:
    """A line on each set of files of which some are not there, as train-00000-of-00002 alone."""
    found = Counter(
        (path.parent, shard[1], int(shard[2]))
        for path in files
        if (shard := _SHARD.fullmatch(path.name[: -len(ENDING)])) and shard[2]
    )
    return [
        f"note       of {name} {folder} has {count:,} of {total:,} files; the others are missing"
        for (folder, name, total), count in found.items()
        if count < total
    ]


def _split_of(path: Path) -> str:
    """By the one word in its name that names a split, as in cifar_train-00000-of-00002, else by its
    folder's name; "" where neither says one."""
    words = re.split(r"[^a-z]+", path.name[: -len(ENDING)].lower())
    found = {split for word in words if (split := split_called(word))}
    if len(found) > 1:
        return ""
    return next(iter(found), split_called(path.parent.name) or "")


@dataclass
class _Columns:
    """image, label, split: their names, the last None where nothing but files may say it. names:
    those of the labels' numbers; None where there are none."""

    image: str
    label: str
    split: str | None
    names: list[str] | None


class _Unpacked:
    """The images of Parquet files as they are written into a folder."""

    def __init__(self, source: Path, folder: Path, reading: Reading):
        self.source, self.folder, self.reading = source, folder, reading
        self.rows: list[list[str]] = []
        self.broken: list[list[str]] = []

    def write(self, splits: Mapping[Path, str], progress: bool) -> None:
        """Write all images, the list of them and that of the rows which have none."""
        packed = sum(path.stat().st_size for path in splits)
        room = Room.for_folder(self.source, packed, self.folder)
        with progress_bar(progress) as bar:
            task = bar.add_task(escape(f"Unpacking {visible(self.source.name)}"), total=None)
            for number, (path, split) in enumerate(splits.items()):
                start = f"{split or 'images'}-{number:05d}"
                try:
                    for row, image, label, said in self._read(path):
                        name = f"{start}/{row // A_FOLDER:04d}/row-{row:07d}"
                        if why := self._add(name, image, label, split or said, room):
                            self.broken.append([f"row {row:,} of {as_unicode(path)}", why])
                        bar.advance(task)
                except UserError:
                    raise
                except Exception as problem:  # pyarrow, fed with garbage, raises all sorts of it
                    if isinstance(problem, OSError) and problem.errno is not None:
                        raise
                    reason = visible(" ".join(str(problem).split())[:200])
                    raise _refused(f"{path} is damaged ({reason}); get it anew") from None
        if not self.rows:
            first = f"{self.broken[0][0]} {self.broken[0][1]}" if self.broken else "it has no rows"
            raise _refused(f"{self.source} has no image with a label ({first}); give another")
        has_splits = any(split for *_, split in self.rows)
        header = ["file", "label", "split"] if has_splits else ["file", "label"]
        write_csv(self.folder / LIST, [header, *(row[: len(header)] for row in self.rows)])
        write_csv(self.folder / BROKEN, self.broken)

    def _read(self, path: Path) -> Iterator[tuple[int, Any, Any, str | None]]:
        """(row, image, label, split) as Python has them, some rows at a time; the split is "" where
        no column says it, and None where that column is silent."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            columns = self._columns(path, file)
            splits = self._split_words(path, file, columns.split)
            wanted = [columns.image, columns.label, *([columns.split] if splits else [])]
            at = 0
            for batch in file.iter_batches(BATCH, columns=wanted):
                images, labels, *said = (
                    batch.column(batch.schema.names.index(name)) for name in wanted
                )
                for i in range(len(batch)):
                    split = splits[_word(said[0][i].as_py())] if said else ""
                    yield at + i, images[i].as_py(), _label(labels[i].as_py(), columns.names), split
                at += len(batch)

    def _split_words(
        self, path: Path, file: "pq.ParquetFile", column: str | None
    ) -> dict[str, str | None]:
        """From each word in the column of splits to the split, None for "", which names none; empty
        where there is no such column, or one that was not asked for and names no split. Raises
        UserError for a word that names none."""
        if column is None:
            return {}
        words = {
            _word(value)
            for batch in file.iter_batches(columns=[column])
            for value in batch.column(0).unique().to_pylist()
        }
        return splits_said(path, column, words, asked=self.reading.split_column is not None)

    def _columns(self, path: Path, file: "pq.ParquetFile") -> _Columns:
        """Which columns hold the images and the labels. Raises UserError."""
        schema = file.schema_arrow
        features = _features(schema)
        images = [f.name for f in schema if _holds_images(f.type)]
        usual = [name for name in images if name.casefold() in IMAGE_COLUMNS]
        image = self._one(path, schema, images if len(images) == 1 else usual or images, "image")
        numbered = [name for name, each in features.items() if each.get("_type") == "ClassLabel"]
        plain = [f.name for f in schema if _holds_labels(f.type) and f.name != image]
        called = [name for name in plain if name.casefold() in LABEL_COLUMNS[0]]
        label = self._one(path, schema, numbered or called or plain, "label")
        names = features.get(label, {}).get("names")
        good = isinstance(names, list) and all(isinstance(name, str) for name in names)
        lower = {name: name.casefold() for name in schema.names}
        rows = ([name for name in lower if lower[name] in row] for row in SPLIT_COLUMNS)
        called = next((row for row in rows if row), None)
        if called is None:
            others = [f for f in schema if f.name not in (image, label)]
            texts = [f.name for f in others if _holds_texts(f.type)]
            called = [name for name in texts if _tells_splits(file, name)]
        split = None
        if self.reading.split_column is not None or len(called) == 1:
            split = self._one(path, schema, called, "split")
        return _Columns(image, label, split, names if good else None)

    def _one(self, path: Path, schema: "pa.Schema", found: list[str], what: str) -> str:
        option = {"image": "file_column"}.get(what, f"{what}_column")
        wanted = getattr(self.reading, option)
        named = ", ".join(map(visible, schema.names)) or "none"
        if wanted is not None:
            if wanted in schema.names:
                return wanted
            raise UserError(
                f"{path} has no column {visible(wanted)!r}; its columns are {named}; choose one "
                f"with `{option}`",
                option=option,
            )
        if len(found) == 1:
            return found[0]
        several = f"several columns that may be that of the {what}s ({', '.join(found)})"
        raise UserError(
            f"{path} has {several if found else f'no column of {what}s'}; its columns are {named}; "
            f"choose one with `{option}`",
            option=option,
        )

    def _add(self, name: str, image: Any, label: str | None, split: str | None, room: Room) -> str:
        """Write an image, and what is wrong with the row; "" where nothing is."""
        content = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(content, bytes) or not content:
            return "has no image"
        ending = _ending(content)
        if not ending:
            return "has no image that can be read"
        label = label or ""
        if why := wrong_label(self.source, label):
            return why
        if split is None:
            return "says no split"
        room.another()
        room.take(len(content))
        target = self.folder / f"{name}{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.rows.append([f"{name}{ending}", label, split])
        return ""


def _word(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _refused(sentence: str) -> UserError:
    return UserError(sentence, option="data")


def _features(schema: "pa.Schema") -> dict[str, dict[str, Any]]:
    """What Hugging Face's metadata say of the columns; nothing where there are none."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])
        found = said["info"]["features"]
        return {name: each for name, each in found.items() if isinstance(each, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _holds_labels(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_integer(kind) or _holds_texts(kind)


def _holds_texts(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _tells_splits(file: "pq.ParquetFile", column: str) -> bool:
    """Whether every word of a column names a split, and not all the same."""
    said = Said()
    for batch in file.iter_batches(columns=[column]):
        if not all(said.hears(_word(value)) for value in batch.column(0).unique().to_pylist()):
            return False
    return said.tells


def _label(value: Any, names: list[str] | None) -> str | None:
    """The class that a value stands for; None for -1, which stands for none, and for what is no
    label."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if names is not None:
        return names[value].strip() or None if 0 <= value < len(names) else None
    return None if value == -1 else str(value)


def _ending(content: bytes) -> str:
    """The ending of a file with such an image in it; "" for what does not begin as one."""
    try:
        image = identify(io.BytesIO(content))
    except Exception:  # a decoder fed with garbage raises whatever it stumbles over
        image = None
    if image is None or not image.format:
        return ""
    return {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2", "HEIF": ".heic"}.get(
        image.format, f".{image.format.lower()}"
    )
