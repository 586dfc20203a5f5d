"""What README and docs show can be run as it stands: every example, in order, page by page.

A page is run in a folder of its own that holds what its examples speak of: `photos/`; `phone/`,
which is neither split nor square; some images; the repository's `weights/`; and, unless the page
trains them, the runs `runs/mine` and `runs/other`. A block after the comment
`<!-- not run: reason -->` is not run; of its commands, and of those in the text, the options are
looked up.
"""

import contextlib
import functools
import io
import re
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from convlens import cli, logs
from convlens.recipes import RECIPES
from convlens.training.measuring import Measurements

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FOUND = {"bf16 gain": 1.0}  # of the machine
EPOCHS = 2  # of a recipe whose command does not say how many
# Programs that are not ours; nothing is looked up of them.
ELSEWHERE = ("cd", "git", "npm", "pip", "pre-commit", "source", "sudo", "tensorboard")


@dataclass(frozen=True)
class Block:
    """One fence of a page. reason: why it is not run. told: what it prints, where the page says."""

    language: str
    code: str
    reason: str | None
    told: str | None = None


def blocks_of(page: Path) -> list[Block]:
    """The page's examples, in order; a `text` fence is what the Python before it prints."""
    blocks: list[Block] = []
    end = None
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        follows = end is not None and not text[end : found.start()].strip()
        if found["language"] in ("python", "sh"):
            blocks.append(Block(found["language"], found["code"], found["reason"]))
        elif found["language"] == "text" and follows and blocks[-1].language == "python":
            blocks[-1] = Block("python", blocks[-1].code, blocks[-1].reason, found["code"])
        end = found.end()
    return blocks


EXAMPLES = [page for page in PAGES if blocks_of(page)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def desk(toy_data, finished_run, shared_cache, tmp_path, monkeypatch):
    """The folder that the examples are run in."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "photos").symlink_to(toy_data)
    images = sorted(toy_data.glob("validation/*/*.png"))
    (folder / "holiday").mkdir()
    names = "a.jpg", "b.jpg", "photo.jpg", "holiday/beach.jpg", "holiday/harbor.jpg"
    for name, image in zip(names, images[::4], strict=True):
        with Image.open(image) as picture:
            picture.save(folder / name, quality=95)
    for path in sorted(toy_data.glob("train/*/*.png"))[::2]:
        with Image.open(path) as picture:
            (folder / "phone" / path.parent.name).mkdir(parents=True, exist_ok=True)
            wide = picture.crop((-16, 0, 80, 64))
            wide.save(folder / "phone" / path.parent.name / f"{path.stem}.jpg", quality=95)
    (folder / "weights").symlink_to(ROOT / "weights")
    for run in "runs/mine", "runs/other":
        shutil.copytree(finished_run, folder / run)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CONVLENS_CACHE", str(shared_cache))
    # What this machine is fastest at does not matter here, and takes seconds to measure.
    monkeypatch.setattr(Measurements, "get", lambda self, what, *_: FOUND.get(what, "library"))
    # Nor do the networks that are trained.
    for name, make in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, functools.partial(replace, make(), epochs=EPOCHS))
    yield folder
    logs.to_nowhere()


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_the_examples_of_a_page_run(page, desk):
    blocks = blocks_of(page)
    for run in trained_by(blocks):
        shutil.rmtree(desk / run, ignore_errors=True)
    names: dict = {"__name__": "__main__"}
    for block in blocks:
        if block.reason is not None:
            continue
        if block.language == "sh":
            for command in commands_of(block.code):
                run_command(command)
        else:
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                exec(compile(block.code, name_of(page), "exec"), names)
            if block.told is not None:
                assert_alike(told.getvalue(), block.told)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_the_options_that_a_page_gives_them(page):
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(convlens\s[^`]+)`", text)
    shown = [c for b in blocks_of(page) if b.language == "sh" for c in commands_of(b.code)]
    for command in [*shown, *(shlex.split(c) for c in inline)]:
        check_command(command)


def test_a_block_is_left_out_for_a_reason_and_few_are():
    reasons = [block.reason for page in EXAMPLES for block in blocks_of(page)]
    assert sum(reason is not None for reason in reasons) <= len(reasons) / 4


def test_blocks_are_found_in_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\nWords.\n\n```text\na formula\n```\n"
        "<!-- not run: takes long -->\n```sh\nconvlens tune quick \\\n  --trials 3  # long\n```\n",
        encoding="utf-8",
    )
    python, shell = blocks_of(page)
    assert python == Block("python", "print(1)\n", None, "1\n")
    assert shell.reason == "takes long"
    assert commands_of(shell.code) == [["convlens", "tune", "quick", "--trials", "3"]]


def test_an_option_that_a_verb_does_not_have_is_found():
    check_command(["convlens", "train", "quick", "--augment.flip", "0"])
    for command in (
        ["convlens", "train", "quick", "--averge", "0"],
        ["convlens", "trian"],
        ["make", "nothing"],
        ["python", "benchmarks/nothing.py"],
    ):
        with pytest.raises(AssertionError):
            check_command(command)


def test_numbers_are_compared_up_to_rounding():
    assert_alike("step 1: 1.13 nats\n", "step 1: 1.10 nats\n")
    for told in "step 2: 1.10 nats\n", "step 1: 1.90 nats\n", "step 1: 1.10 bits\n":
        with pytest.raises(AssertionError):
            assert_alike(told, "step 1: 1.10 nats\n")


def trained_by(blocks: list[Block]) -> set[str]:
    """The run folders that a page's examples make themselves."""
    code = "\n".join(block.code for block in blocks if block.reason is None)
    return set(re.findall(r"(?:--out |out=\")(runs/\w+)(?![\w/])", code))


def commands_of(code: str) -> list[list[str]]:
    """A shell block's commands in words, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_command(command: list[str]) -> None:
    """Run one of ConvLens' own, here; of others look up what there is to look up."""
    if command[0] != "convlens":
        check_command(command)
        return
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            cli.main(command[1:])
    except SystemExit as stop:
        assert not stop.code, f"{shlex.join(command)} ended with status {stop.code}"
    finally:
        logs.to_nowhere()


def check_command(command: list[str]) -> None:
    """Fail for a verb, an option, a make target or a script that there is not."""
    program, *arguments = command
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [a for a in arguments if "=" not in a]
        assert all(re.search(rf"^{t}:", makefile, re.MULTILINE) for t in targets), command
    elif program == "python" or arguments[:1] == ["benchmarks/memory_limit.py"]:
        assert (ROOT / arguments[0]).is_file(), command
    elif program == "torchrun":
        check_command(["convlens", *arguments[arguments.index("convlens") + 1 :]])
    elif program == "convlens":
        options = {a.partition("=")[0] for a in arguments if re.match(r"--[a-z]", a)}
        unknown = options - options_of(verb_of(arguments)) - {"--version", "--help"}
        assert not unknown, f"{shlex.join(command)} has no {unknown}"
    else:
        assert program in ELSEWHERE or "=" in program, command


def verb_of(arguments: list[str]) -> tuple[str, ...]:
    """What to ask for help: the verb, and for `train` and `tune` also what is trained."""
    verb, *rest = arguments
    if verb == "data":
        return verb, *rest[:1]
    if verb in ("train", "tune"):
        if "--resume" in rest:
            return verb, "--resume", "RUN"
        recipe = rest[0] if rest and re.fullmatch(r"[a-z]\w*", rest[0]) else "quick"
        return verb, recipe
    return (verb,)


@functools.cache
def options_of(verb: tuple[str, ...]) -> frozenset[str]:
    """The options that a verb's help names."""
    if verb[0].startswith("-") or verb[0] in ("VERB", "…"):
        return frozenset()
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            cli.main([*verb, "--help"])
    except SystemExit as stop:
        assert not stop.code, f"there is no verb {verb}: {told.getvalue()}"
    finally:
        logs.to_nowhere()
    return frozenset(re.findall(r"--[a-z][\w.-]*", told.getvalue()))


def assert_alike(told: str, shown: str) -> None:
    """The same text, in which decimal fractions may differ by a tenth."""
    fraction = re.compile(r"-?\d+\.\d+")
    assert fraction.sub("#", told) == fraction.sub("#", shown)
    for here, there in zip(fraction.findall(told), fraction.findall(shown), strict=True):
        assert float(here) == pytest.approx(float(there), rel=0.1, abs=0.05)
