"""Fills in docs/architecture.md: which package imports which, what each file is, how long all are.

    python docs/architecture.py        # of the source here and of commit aa8b2e8, before 0.2.0

Writes docs/pictures/imports-before.png and imports-after.png, and what is between the marks in
docs/architecture.md. The imports are read by grimp, which import-linter reads them by too: those
inside functions count, those for the type checker alone do not.
"""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
import networkx as nx
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

ROOT = Path(__file__).parents[1]
BEFORE = "aa8b2e8"
PAGE = ROOT / "docs" / "architecture.md"
CIRCLE, PLAIN = "#c2410c", "#334155"
# The lowest layer, small files that everything may import: arrows to them would hide all others.
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"][0]["layers"]
FOUNDATION = set(LAYERS[-1].split(" : "))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = {"before": checked_out(BEFORE, Path(folder)), "after": ROOT / "src"}
        rows = {}
        for name, source in sources.items():
            graph = imports(source)
            packages = between_packages(graph)
            draw(packages, name).savefig(
                ROOT / "docs" / "pictures" / f"imports-{name}.png", dpi=110
            )
            rows[name] = measured(source / "convlens", graph, packages)
    page = PAGE.read_text(encoding="utf-8")
    table = to_table(rows["before"], rows["after"])
    for name, content in ("measured", table), ("tree", tree(ROOT / "src" / "convlens")):
        between = rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)"
        page = re.sub(between, lambda _, new=content: new, page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")
    print(table)


def checked_out(commit: str, folder: Path) -> Path:
    """The folder `src` as it was at that commit."""
    archive = subprocess.run(
        ["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def imports(source: Path) -> nx.DiGraph:
    """Of the package convlens in `source`: an edge from each module to every one it imports."""
    code = (
        "import grimp, json; g = grimp.build_graph('convlens', cache_dir=None,"
        " exclude_type_checking_imports=True);"
        " print(json.dumps({m: sorted(g.find_modules_directly_imported_by(m)) for m in g.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path_of(source)!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return nx.DiGraph(ast.literal_eval(done.stdout))


def path_of(source: Path) -> list[str]:
    """What a Python without its site packages must look through, the installed convlens not."""
    return [str(source), str(Path(grimp.__file__).parents[1])]


def between_packages(graph: nx.DiGraph) -> nx.DiGraph:
    """The same between the packages and single files directly below convlens."""
    packages = nx.DiGraph()
    for module, imported in graph.edges:
        ends = [name.split(".")[1] for name in (module, imported) if name.count(".")]
        if len(ends) == 2 and ends[0] != ends[1]:
            packages.add_edge(*ends)
    return packages


def layers(packages: nx.DiGraph) -> list[list[str]]:
    """Packages in rows, the lowest first: each above all that it imports, circles in one row."""
    condensed = nx.condensation(packages)
    height: dict[int, int] = {}
    for part in reversed(list(nx.topological_sort(condensed))):
        height[part] = 1 + max((height[below] for below in condensed.successors(part)), default=-1)
    rows: list[list[str]] = [[] for _ in range(1 + max(height.values()))]
    for part, row in height.items():
        rows[row] += sorted(condensed.nodes[part]["members"])
    return rows


def draw(packages: nx.DiGraph, name: str) -> Figure:
    """The packages in rows, an arrow to each that is imported; arrows of circles in red.

    An import of what is imported by way of others anyway is faint.
    """
    packages = packages.subgraph(set(packages) - FOUNDATION)
    condensed = nx.condensation(packages)
    part_of = condensed.graph["mapping"]
    strong = set(nx.transitive_reduction(condensed).edges)
    circles = {
        member: number
        for number, part in enumerate(nx.strongly_connected_components(packages))
        for member in part
    }
    rows = layers(packages)
    figure = Figure(figsize=(10, 1 + 0.8 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = {}
    for height, row in enumerate(rows):
        shift = 0.17 if height % 2 else -0.17  # so that fewer arrows run through a name
        for i, package in enumerate(sorted(row)):
            places[package] = ((i + 1) / (len(row) + 1) * 10 + shift * 3, height)
    names = {}
    for package, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#f1f5f9", "edgecolor": "#334155"}
        names[package] = axes.text(x, y, package, ha="center", va="center", fontsize=9, bbox=box)
    for package, imported in packages.edges:
        circle = circles[package] == circles[imported]
        faint = not circle and (part_of[package], part_of[imported]) not in strong
        (x, y), (u, v) = places[package], places[imported]
        bend = 0.25 if y == v else 0.04 * (1 if x < u else -1)
        axes.add_patch(
            FancyArrowPatch(
                (x, y),
                (u, v),
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=9,
                patchA=names[package].get_bbox_patch(),
                patchB=names[imported].get_bbox_patch(),
                shrinkA=0,
                shrinkB=0,
                zorder=4,  # after the names, whose boxes are then known
                color=CIRCLE if circle else PLAIN,
                alpha=0.22 if faint else 0.95,
                linewidth=0.7 if faint else 1.4,
            )
        )
    count = sum(circles[a] == circles[b] for a, b in packages.edges)
    told = f"{count} in circles, in red" if count else "none in a circle"
    axes.set_title(
        f"The packages of ConvLens {name} 0.2.0's rebuilding: {packages.number_of_edges()} imports "
        f"between them, {told}\n(without {', '.join(sorted(FOUNDATION))}; faint: imports of what "
        "is imported by way of others anyway)",
        fontsize=10,
    )
    axes.set_xlim(-0.3, 10.3)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axis("off")
    return figure


@dataclass(frozen=True)
class Function:
    """A function of the source. parameters: without self, cls and star arguments."""

    name: str
    file: str
    lines: int
    parameters: int


def functions(package: Path) -> Iterator[Function]:
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                yield Function(
                    node.name,
                    str(path.relative_to(package)),
                    node.end_lineno - node.lineno + 1,
                    len([each for each in names if each not in ("self", "cls")]),
                )


def measured(package: Path, graph: nx.DiGraph, packages: nx.DiGraph) -> dict[str, str]:
    """What the table says of one state of the source."""
    files = {
        str(path.relative_to(package)): len(path.read_text(encoding="utf-8").splitlines())
        for path in package.rglob("*.py")
    }
    longest = max(files, key=files.__getitem__)
    found = list(functions(package))
    long = max(found, key=lambda f: f.lines)
    wide = max(found, key=lambda f: f.parameters)
    text = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    return {
        "files; lines": f"{len(files)}; {sum(files.values()):,}",
        "longest file": f"`{longest}`, {files[longest]} lines",
        "longest function": f"`{long.name}` in `{long.file}`, {long.lines} lines",
        "widest signature": f"`{wide.name}` in `{wide.file}`, {wide.parameters} parameters",
        "functions of more than seven parameters": str(sum(f.parameters > 7 for f in found)),
        "packages in circles": str(members_of_circles(packages)),
        "files in circles": str(members_of_circles(graph)),
        "`# fmt: skip`": str(text.count("# fmt: skip")),
    }


def members_of_circles(graph: nx.DiGraph) -> int:
    """How many nodes import themselves by way of others."""
    parts = nx.strongly_connected_components(graph)
    return sum(len(part) for part in parts if len(part) > 1)


def tree(package: Path) -> str:
    """Every file with the first sentence of its docstring, as text."""
    lines = [package.name + "/"]
    for path in sorted(package.rglob("*.py"), key=lambda p: (p.parent, p.name != "__init__.py", p)):
        inside = path.relative_to(package)
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        about = docstring.split("\n\n")[0].replace("\n", " ")
        if path.name == "__init__.py":
            name, depth = f"{inside.parent.name}/", len(inside.parts) - 1
        else:
            name, depth = path.name, len(inside.parts)
        if depth and about:
            lines.append(f"{'  ' * depth}{name}".ljust(31) + about)
    return "\n".join(["```text", *lines, "```", ""])


def to_table(before: dict[str, str], after: dict[str, str]) -> str:
    lines = [f"| {name} | {before[name]} | {after[name]} |" for name in before]
    return "\n".join(["| | before | after |", "| --- | --- | --- |", *lines, ""])


if __name__ == "__main__":
    main()
