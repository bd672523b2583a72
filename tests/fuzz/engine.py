"""A small fuzzing engine: kinds of input, an oracle for all of them, a table of what came out.

A kind draws a case from a random generator: what was drawn in words, a function that runs it, and one that
says whether the result is right. The oracle knows four outcomes:

    right        the run returned, and what it returned is right
    clear error  an AdapterError whose message names the value and says what to do
    fault        anything else: another exception, a wrong result, files left behind, a run that does not end

Input `number` of a kind is the same on every machine, so a fault is told by its kind and number.

Other modules add kinds: a file `fuzz/kinds_<what>.py` with functions decorated by `@kind("name")` is found by
`all_kinds`.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters_lib.errors import AdapterError

__all__ = ["KINDS", "Case", "Outcome", "Tally", "all_kinds", "kind", "table", "try_input", "try_kinds"]

SECONDS = 60  # that one input may take on a busy machine
GROWTH = 2**30  # bytes by which one input may raise the highest memory of the process
REMEDY = re.compile(
    r"known: |\b(give|pass|use|replace|remove|put|write|fetch|did you"
    r" mean|save|lower|raise|shrink|correct|choose|ask|leave|"
    r"convert|add|name|must|are needed|is needed|needs|install|unpack|take|copy|cut|lie in|at"
    r" (least|most)|complete|say|export|"
    r"retrain|rebuild|create|call|set|start|load|run|delete|make|a row is|expected|allowed|free|check)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Case:
    """One input. shown: in words, for a report. run: try it. right: whether what `run` returned is right.

    writes: names below the case's folder that a run may leave there.
    """

    shown: str
    run: Callable[[], Any]
    right: Callable[[Any], bool]
    writes: tuple[str, ...] = ()


Draw = Callable[[random.Random, Path], Case]
KINDS: dict[str, Draw] = {}
"""Every kind by name: (generator, an empty folder of its own) → a case."""


def kind(name: str) -> Callable[[Draw], Draw]:
    """Register a function that draws cases."""

    def register(draw: Draw) -> Draw:
        KINDS[name] = draw
        return draw

    return register


def all_kinds() -> dict[str, Draw]:
    """KINDS, once every module `fuzz.kinds_*` is imported."""
    import fuzz

    for module in pkgutil.iter_modules(fuzz.__path__):
        if module.name.startswith("kinds_"):
            importlib.import_module(f"fuzz.{module.name}")
    return KINDS


@dataclass(frozen=True)
class Outcome:
    """verdict: "right", "clear error" or "fault". detail: the message, or what is wrong."""

    kind: str
    number: int
    verdict: str
    shown: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.number}: {self.verdict}: {self.shown}: {self.detail}"


class Hang(BaseException):
    """A run took longer than it may; no `except Exception` stops it."""


def try_input(name: str, number: int, draw: Draw | None = None, seconds: float = SECONDS) -> Outcome:
    """Draw input `number` of a kind, run it in a folder of its own, and judge what happens."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        case = (draw or KINDS[name])(random.Random(f"{name}:{number}"), place)
        before, memory = _listing(place), _memory()
        verdict, detail = _judge(case, seconds)
        left = [
            path for path in sorted(_listing(place) - before) if not path.startswith(case.writes or ("\0",))
        ]
        if verdict != "fault" and left:
            verdict, detail = "fault", f"left behind: {', '.join(left[:5])}"
        if verdict != "fault" and _memory() - memory > GROWTH:
            verdict, detail = "fault", f"took {(_memory() - memory) / 2**30:.1f} GiB"
        return Outcome(name, number, verdict, case.shown, detail)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _judge(case: Case, seconds: float) -> tuple[str, str]:
    try:
        with _limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = case.run()
            right = case.right(result)
    except AdapterError as error:
        message = str(error)
        clear = len(message) >= 15 and REMEDY.search(message) is not None
        return ("clear error", message) if clear else ("fault", f"no remedy in {message!r}")
    except Hang:
        return "fault", f"not done after {seconds:g} s"
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit and pytest's own count as raw, too
        return "fault", f"{type(error).__name__}: {error}"
    return ("right", "") if right else ("fault", f"a wrong result: {str(result)[:200]}")


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread when the time is over."""

    def over(_number: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _listing(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Tally:
    """What came out for one kind."""

    inputs: int = 0
    right: int = 0
    clear: int = 0
    faults: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.inputs += 1
        self.right += outcome.verdict == "right"
        self.clear += outcome.verdict == "clear error"
        self.faults += [outcome] if outcome.verdict == "fault" else []


def try_kinds(names: Sequence[str], inputs: int, minutes: float, first: int = 0) -> dict[str, Tally]:
    """Inputs of these kinds in turn, until `inputs` are done or `minutes` are over.

    first: number of the first input of each kind, so that a long run sees others than the tests do.
    """
    tallies = {name: Tally() for name in names}
    end, done, number = time.monotonic() + 60 * minutes, 0, first
    while done < inputs:
        for name in names:
            if done >= inputs or time.monotonic() > end:
                return tallies
            tallies[name].add(try_input(name, number))
            done += 1
        number += 1
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """kind, inputs, right, clear error, faults; a row a kind and one for all."""
    rows = [("kind", "inputs", "right", "clear error", "faults")]
    for name, tally in tallies.items():
        rows.append((name, *(f"{n:,}" for n in (tally.inputs, tally.right, tally.clear, len(tally.faults)))))
    sums = [
        sum(column)
        for column in zip(
            *((t.inputs, t.right, t.clear, len(t.faults)) for t in tallies.values()), strict=True
        )
    ]
    rows.append(("all", *(f"{n:,}" for n in sums)))
    return "\n".join(f"{row[0]:16}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)
