"""The rows of docs/backtrader.md, and the tests that prove them."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backtests.data.universe import MONEY, SECOND, Settlement
from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.instructions import BadOrder
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.scripted import Scripted, clocked, lines_of, scripted
from backtests.tests.test_execution import NOW, book

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


class Section:
    """Marks the tests that prove what the rows of a section say."""

    def __init__(self, name: str) -> None:
        self.name = name

    def works(self, *names: str) -> Callable[[T], T]:
        return self._marks("works", names)

    def differs(self, *names: str) -> Callable[[T], T]:
        return self._marks("differs", names)

    def raises(self, *names: str) -> Callable[[T], T]:
        return self._marks("raises", names)

    def ours(self, *names: str) -> Callable[[T], T]:
        return self._marks("ours", names)

    def inner(self, *names: str) -> Callable[[T], T]:
        return self._marks("inner", names)

    def names(self, verdict: str) -> list[str]:
        """The names of the rows with a verdict."""
        return [
            name for (title, name), said in rows().items() if (title, said) == (self.name, verdict)
        ]

    def _marks(self, verdict: str, names: tuple[str, ...]) -> Callable[[T], T]:
        def mark(test: T) -> T:
            for name in names:
                PROVED[self.name, name].add(verdict)
            return test

        return mark


STRATEGY, ARGUMENTS, BROKER, ORDER = map(Section, ("Strategy", "Arguments", "Broker", "Order"))


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


def refused(words: str, kind: Any = BadOrder, method: Any = "buy", **how: Any) -> None:
    """Assert that a call is refused with words, and leaves nothing behind."""
    sent = []

    def send(s: Scripted) -> None:
        with pytest.raises(kind, match=words):
            getattr(s, method)(**{"data": s.datas[0], "size": 5} | how)
        sent.append(True)

    assert lines_of(scripted(quoted(), {10: send})) == []
    assert sent == [True]


def run_class(kind: type[Scripted], universe: Any = None) -> Any:
    return cerebro.run(
        universe or quoted(), kind, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    )


def run_of(body: dict[str, Any], universe: Any = None, *, script: Any = None) -> Any:
    """Run a strategy with this body; tell the strategy."""
    return run_class(
        type("Written", (Scripted,), {"script": script or {}, **body}), universe
    ).strategy


def settled(value: float, *, at: float = 20) -> Any:
    """A market that is settled at a second, at a value of YES in dollars."""
    paid = NOW + round(at * SECOND)
    universe = quoted()
    universe.settlements[0] = Settlement(paid, paid, round(value * MONEY))
    return universe
