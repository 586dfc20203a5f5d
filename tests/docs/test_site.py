"""The site has every page, and what is said twice is said alike."""

import re
import tomllib
from pathlib import Path

import convlens

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def text_of(*path: str) -> str:
    return ROOT.joinpath(*path).read_text(encoding="utf-8")


def pages_of(entries: list) -> list[str]:
    """The pages of a navigation, in order."""
    pages: list[str] = []
    for entry in entries:
        inside = next(iter(entry.values())) if isinstance(entry, dict) else entry
        pages += pages_of(inside) if isinstance(inside, list) else [inside]
    return pages


def test_every_page_is_in_the_navigation_once():
    site = tomllib.loads(text_of("zensical.toml"))["project"]
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert sorted(pages_of(site["nav"])) == sorted(pages)


def test_the_site_asks_no_other_host_for_fonts():
    assert tomllib.loads(text_of("zensical.toml"))["project"]["theme"]["font"] is False


def test_one_version_and_one_date():
    version = re.escape(convlens.__version__)
    citation = text_of("CITATION.cff")
    date = re.search(r'^date-released: "(.+)"$', citation, re.MULTILINE)[1]
    assert re.search(rf"^version: {version}$", citation, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    released = [heading for heading in headings[:2] if heading != "Unreleased"]
    assert released[0] == f"{convlens.__version__} ({date})"


def test_the_pictures_of_a_page_are_there_and_none_is_left_over():
    shown = {
        (page.parent / target).resolve()
        for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {path.resolve() for path in (DOCS / "pictures").iterdir()}


def test_the_layers_told_are_those_that_are_checked():
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    for page in text_of("docs", "architecture.md"), text_of("CONTRIBUTING.md"):
        told = re.search(r"^```text\n(__main__\n.+?)^```$", page, re.MULTILINE | re.DOTALL)[1]
        lines = [re.split(r"\s{4,}", line)[0] for line in told.splitlines()]
        assert [re.findall(r"\w+", line) for line in lines] == layers


def test_what_the_site_takes_from_elsewhere_has_no_links_that_lead_astray():
    """Relative links would be right in one of the two places only."""
    for name in "CHANGELOG.md", "CONTRIBUTING.md":
        links = re.findall(r"\]\((?!https?://)([^)]+)\)", text_of(name))
        assert links == [], name
