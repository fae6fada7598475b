"""The rows of docs/backtrader.md, and the tests that prove them."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from backtests.rules.execution import FillModel
from backtests.tests.scripted import Scripted, clocked, scripted
from backtests.tests.test_execution import book

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "backtrader.md"
VERDICTS = ("works", "differs", "raises", "ours", "inner")
T = TypeVar("T", bound=Callable[..., Any])

# The rows that the tests prove: by section and name, with what they say of it.
PROVED: dict[tuple[str, str], set[str]] = defaultdict(set)


def rows() -> dict[tuple[str, str], str]:
    """The verdict of each row, by section and name."""
    found = {}
    for section in re.split(r"^## ", DOCUMENT.read_text(), flags=re.M)[1:]:
        title = section.splitlines()[0]
        for names, verdict in re.findall(r"^\| (`.*?`) \| (\w+) \|", section, flags=re.M):
            for name in re.findall(r"`(.*?)`", names):
                assert (title, name) not in found, f"two rows for {name}"
                found[title, name] = verdict
    return found


def names_of(section: str, verdict: str) -> list[str]:
    return [name for (title, name), said in rows().items() if (title, said) == (section, verdict)]


def proves(section: str, verdict: str, *names: str) -> Callable[[T], T]:
    """Mark a test that proves what rows say."""

    def mark(test: T) -> T:
        for name in names:
            PROVED[section, name].add(verdict)
        return test

    return mark


def quoted(
    bid: float | None = 42, ask: float | None = 45, *more: dict[str, Any], **others: Any
) -> Any:
    """A market of one quote, observed every five seconds, beside one with a row each second."""
    return clocked(book(bid, ask, at=0, **others), *more, looks=range(0, 60, 5))


def asked(
    call: Callable[[Scripted], Any], *, universe: Any = None, at: float = 10, before: Any = None
) -> Any:
    """What a call of a strategy returns at a second, ten seconds after another one."""
    answers: list[Any] = []
    script = {0: before or (lambda s: None), at: lambda s: answers.append(call(s))}
    scripted(universe or quoted(), script, FillModel.EXPECTED)
    return answers[0]


def hold(contracts: float) -> Callable[[Scripted], Any]:
    """Take so many contracts of YES, or of NO below zero."""
    return lambda s: (s.buy if contracts > 0 else s.sell)(s.datas[0], abs(contracts))
