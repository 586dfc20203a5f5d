"""How views are called, so that another choice of maps does not overwrite them."""

from collections.abc import Sequence


def file_name(view: str, layer: str, maps: Sequence[int] = ()) -> str:
    """Say what was asked for: "patches-relu2-map3-60"."""
    which = f"-map{'-'.join(map(str, maps))}" if len(maps) <= 12 else f"-{len(maps)}maps"
    return f"{view}-{layer}{which if maps else ''}"


def maps_of(maps: Sequence[int], otherwise: str) -> str:
    """Which maps a title speaks of: "maps given", or what stands in where none were."""
    return "maps given" if maps else otherwise
