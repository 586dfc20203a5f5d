"""Fills the tables of README.md and docs/ from results/: `python docs/results.py`.

A table stands between `<!-- name -->` and `<!-- /name -->`; nobody writes in there by hand. The
pictures of results/ that pages show are copied into docs/pictures/.
"""

import json
import re
import shutil
from pathlib import Path

from convlens import formats
from convlens.reporting.tables import compact_table

ROOT = Path(__file__).parent.parent
TABLES = {  # the page, the name of its table
    ("README.md", "results"),
    ("docs/results.md", "results"),
    ("docs/speed.md", "bench"),
    ("docs/accuracy.md", "ablation"),
    ("docs/how-to/finetune.md", "finetune"),
    ("docs/datasets.md", "datasets"),
    ("docs/how-to/train.md", "frontier"),
}
PICTURES = ("datasets.png", "finetune.png", "frontier.png", "profile.png")


def table(page: str, name: str) -> str:
    """The table as it is to be: README's of the records, else the file that measuring has left."""
    results = ROOT / "results"
    if page == "README.md":
        records = json.loads((results / "summary.json").read_text(encoding="utf-8"))
        return compact_table([formats.read_metrics(record) for record in records])
    file = {"results": "summary.md"}.get(name, f"{name}.md")
    return (results / file).read_text(encoding="utf-8")


def filled(page: str, name: str) -> str:
    """The page with that table in its place. Raises ValueError where it has no place for it."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    text = (ROOT / page).read_text(encoding="utf-8")
    between = re.escape(start) + ".*?" + re.escape(end)
    whole = start + table(page, name) + end
    text, count = re.subn(between, lambda _: whole, text, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{page} has no lines {start.strip()} and {end}; put them in")
    return text


def main() -> None:
    for page, name in sorted(TABLES):
        (ROOT / page).write_text(filled(page, name), encoding="utf-8")
        print(f"filled     {name} in {page}")
    for name in PICTURES:
        shutil.copyfile(ROOT / "results" / name, ROOT / "docs" / "pictures" / name)
        print(f"copied     {name}")


if __name__ == "__main__":
    main()
