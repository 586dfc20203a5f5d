"""The files anywhere below a folder."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from convlens.data.names import is_hidden
from convlens.data.own import is_own


def files_below(
    root: Path | str,
    on_error: Callable[[OSError], None],
    on_own: Callable[[str], None],
    passed: Iterable[Path] = (),
) -> list[str]:
    """The files anywhere below a folder; each folder's once, so that loops of links end.

    A folder goes by its own name before it goes by that of a link. What is hidden is passed over.

    Args:
        root: The folder.
        on_error: Is shown what could not be read.
        on_own: Is shown the paths of folders that ConvLens wrote, which are passed over too.
        passed: Folders to which no link may lead back.
    """
    files, waiting = [], [str(root)]
    seen = {(identity.st_dev, identity.st_ino) for identity in map(os.stat, passed)}
    for start in waiting:
        for folder, folders, names in os.walk(start, onerror=on_error):
            identity = os.stat(folder)
            if (identity.st_dev, identity.st_ino) in seen:
                folders.clear()
                continue
            seen.add((identity.st_dev, identity.st_ino))
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            own = [name for name in folders if is_own(os.path.join(folder, name))]
            for name in own:
                on_own(os.path.join(folder, name))
            folders[:] = [name for name in folders if name not in own]
            inside = [os.path.join(folder, name) for name in folders]
            waiting += [path for path in inside if os.path.islink(path)]
            files += [os.path.join(folder, name) for name in names if not is_hidden(name)]
    return files
