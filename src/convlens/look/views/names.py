"""How views are called, so that another image, layer or choice of maps does not overwrite them."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from convlens.files import marked


def file_name(view: str, layer: str, maps: Sequence[int] = ()) -> str:
    """Say what was asked for: "patches-relu2-map3-60"; of many maps their number and a hash."""
    if not maps:
        return f"{view}-{layer}"
    numbers = "-".join(map(str, maps))
    which = f"map{numbers}" if len(maps) <= 12 else marked(f"{len(maps)}maps", numbers)
    return f"{view}-{layer}-{which}"


def maps_of(maps: Sequence[int], otherwise: str) -> str:
    """Which maps a title speaks of: "maps given", or what stands in where none were."""
    return "maps given" if maps else otherwise


def own_names(wanted: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Names of files, no two of which are the same on any file system.

    Args:
        wanted: What each is called where no other wants the same.
        texts: What tells those apart that want the same: they have a hash of it in their names, and
            their order does not matter.
    """
    count = Counter(map(_key, wanted))
    apart = [marked(name, text) for name, text in zip(wanted, texts, strict=True)]
    names = [
        name if count[_key(name)] == 1 else other for name, other in zip(wanted, apart, strict=True)
    ]
    # A name may look just like another one with its hash.
    return names if len(set(map(_key, names))) == len(names) else apart


def _key(name: str) -> str:
    """The same for names that some file systems do not tell apart: by case, or by accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
