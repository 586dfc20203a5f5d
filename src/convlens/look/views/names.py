"""How pictures are called, so that another choice of maps does not overwrite them."""


def file_name(view: str, layer: str, maps: tuple[int, ...]) -> str:
    """Says what was asked for: "patches-relu2-map3-60"."""
    which = f"-map{'-'.join(map(str, maps))}" if len(maps) <= 12 else f"-{len(maps)}maps"
    return f"{view}-{layer}{which if maps else ''}"
