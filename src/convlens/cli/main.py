"""The command line: `convlens VERB --help` shows the defaults of a verb's options."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import convlens
from convlens import logs
from convlens.cli import bench, data, explore, infer, look, report, train
from convlens.cli.options import tell
from convlens.errors import UserError, did_you_mean
from convlens.logs import say

# A verb reads its arguments and prints what it does. It imports what it runs itself, as late as it
# can: torch takes seconds to import.
Verb = Callable[[Sequence[str]], None]

VERBS: dict[str, Verb | dict[str, Verb]] = {
    "data": {
        "audit": data.audit,
        "split": data.split,
        "fetch": data.fetch,
        "demo": data.demo,
    },
    "train": train.train,
    "evaluate": infer.evaluate,
    "predict": infer.predict,
    "look": look.look,
    "export": infer.export,
    "explore": explore.explore,
    "report": report.report,
    "reproduce": report.reproduce,
    "tune": train.tune,
    "bench": bench.bench,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; bad input ends with one sentence on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    logs.to_stdout()
    # of damaged files, which are told in a sentence where they cannot be read
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        _dispatch(VERBS, arguments, "convlens")
        sys.stdout.flush()
    except UserError as problem:
        say(tell(problem), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # `| head` has read enough. Python flushes once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        # Wherever a verb reads or writes: no permission, a full disk, a file in a folder's place.
        where = f"{problem.filename} cannot be used: " if problem.filename else ""
        what = problem.strerror or problem
        say(f"convlens: {where}{what}; make room or name another place", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        say("convlens: stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        logs.to_nowhere()


def _dispatch(verbs: dict[str, Any], arguments: Sequence[str], prog: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        say(f"usage: {prog} VERB …\n\n{summary(convlens)}\n")
        for name, verb in verbs.items():
            about = f"one of {', '.join(verb)}" if isinstance(verb, dict) else summary(verb)
            say(f"  {name:<10} {about}")
        say(f"\n{prog} VERB --help shows the options of one.")
        return
    name, *rest = arguments
    if name == "--version":
        say(f"convlens {convlens.__version__}")
        return
    verb = _lookup(verbs, name, prog)
    prog = f"{prog} {name}"
    if isinstance(verb, dict):
        _dispatch(verb, rest, prog)
    elif verb is not train.train and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            "torchrun starts several processes, and only train shares its work among them; run "
            f"`{prog}` without torchrun"
        )
    else:
        verb(rest)


def summary(what: object) -> str:
    """The first line of a docstring; nothing where there is none, as under `python -OO`."""
    return (what.__doc__ or "").strip().partition("\n")[0]


def _lookup(verbs: dict[str, Any], name: str, prog: str) -> Any:
    if name in verbs:
        return verbs[name]
    hint = did_you_mean(name, verbs)
    raise UserError(f"{prog} has no verb {name!r}{hint} (there are {', '.join(verbs)})")
