"""Everything that the page would ask a server for, in one file that opens without one.

A pack is the length of its head (4 bytes, the lowest first), the head as JSON, then bytes: answers,
each under its path, and weights. `page/copy.js` reads it. In the document it is gzip in base64.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from convlens.explorer.answers import Answer, as_json

GENERATOR = '<meta name="generator" content="ConvLens">'
SAFE = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src blob: data:; "
SAFE += "connect-src blob: data:; style-src 'unsafe-inline'; "


class Pack:
    """Bytes one after the other, and the head that says where each of them lies.

    head: for each run `sizes`, `labels` of images, names of the `training` images that it has, and
    `networks`, None where the page cannot run one; `export` fills it.
    """

    def __init__(self) -> None:
        self.head: dict[str, list[Any]] = {
            name: [] for name in ("sizes", "labels", "training", "networks")
        }
        self.files: dict[str, dict[str, Any]] = {}
        self.parts: list[bytes] = []
        self.length = 0

    def add(self, path: str, answer: Answer) -> None:
        """An answer at a path."""
        start = self._append(answer.body)
        self.files[path] = {"kind": answer.kind, "start": start, "length": len(answer.body)}

    def tensors(self, tensors: list[np.ndarray]) -> dict[str, Any]:
        """Weights, float32; what the head is to say of them.

        Their lowest byte goes: what is left is exact to 8 in a million, or 2⁻¹⁷, and holds all of a
        file in half precision. The bytes of one place lie together, which gzip makes smaller.
        """
        flat = np.concatenate([tensor.ravel() for tensor in tensors]).astype(np.float32)
        bits = flat.view(np.uint32)
        bits = np.where(bits & 0x7FFFFFFF >= 0x7F7FFF80, bits, bits + 0x80)  # to the nearest
        planes = [((bits >> shift) & 0xFF).astype(np.uint8) for shift in (8, 16, 24)]
        start = self._append(np.concatenate(planes).tobytes())
        firsts = np.cumsum([0, *(tensor.size for tensor in tensors)]).tolist()
        each = [
            {"shape": list(tensor.shape), "first": first}
            for tensor, first in zip(tensors, firsts, strict=False)
        ]
        return {"start": start, "count": len(flat), "each": each}

    def content(self) -> bytes:
        """The whole of it."""
        head = as_json({**self.head, "files": self.files}).body
        return b"".join([len(head).to_bytes(4, "little"), head, *self.parts])

    def _append(self, content: bytes) -> int:
        start = self.length
        self.parts.append(content)
        self.length += len(content)
        return start


def document(page: Mapping[str, Answer], pack: Pack) -> bytes:
    """The page with all that belongs to it as one HTML file.

    Args:
        page: Its own files, of `page_files`.
        pack: What it asks for.

    A browser lets no script of a page opened as a file import another one. So each of them is a
    data URL, under the name that an import map gives it.
    """
    html = page["index.html"].body.decode()
    scripts = {
        f"page/{name}": _url(Answer(_imports(answer.body), answer.kind))
        for name, answer in page.items()
        if name.endswith(".js")
    }
    maps = json.dumps({"imports": scripts})
    start = 'import("page/main.js");'
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (maps, start))
    policy = f"{SAFE}script-src data: 'wasm-unsafe-eval' {hashes}"
    packed = base64.b64encode(gzip.compress(pack.content(), 6, mtime=0)).decode()
    styles = "\n".join(
        page[name].body.decode()
        for name in re.findall(r'<link rel="stylesheet" href="(.*?)">', html)
    )
    head = [
        GENERATOR,
        f"<style>{styles}</style>",
        f'<script type="importmap">{maps}</script>',
        f'<script type="module">{start}</script>',
    ]
    html = re.sub(
        r"(http-equiv=\"Content-Security-Policy\" content=)\".*?\"", rf'\1"{policy}"', html
    )
    html = re.sub(r'\s*<link rel="stylesheet".*?>', "", html)
    html = re.sub(r'\s*<script type="module" src=.*?</script>', "", html)
    html = html.replace("icon.svg", _url(page["icon.svg"]))
    html = html.replace("</head>", "\n".join([*head, "</head>"]))
    return html.replace(
        "</body>", f'<script type="text/plain" id="copy">{packed}</script>\n</body>'
    ).encode()


def _imports(script: bytes) -> bytes:
    """`./name.js`, which means nothing in a data URL, by the name in the import map."""
    return re.sub(rb"""(from |import\()(["'])\./""", rb"\1\2page/", script)


def _url(answer: Answer) -> str:
    kind = answer.kind.partition(";")[0]
    return f"data:{kind};base64,{base64.b64encode(answer.body).decode()}"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
