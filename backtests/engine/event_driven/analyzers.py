"""Analyzers that watch a strategy while it runs; the figures of a finished run come from its
journal (see `metrics`)."""

from typing import Any

import backtrader as bt

from backtests.data.universe import CONTRACT, MONEY, instant
from backtests.rules.execution import JOURNAL, JOURNAL_COLUMN, EntryKind


class EquityAnalyzer(bt.Analyzer):
    """Equity in dollars at each instant: cash, and positions at the side they could be sold to."""

    def start(self) -> None:
        self.points: list[tuple[Any, float]] = []

    def next(self) -> None:
        self.points.append((instant(self.strategy.now), self.strategy.broker.getvalue()))

    def get_analysis(self) -> list[tuple[Any, float]]:
        return self.points


class DrawdownAnalyzer(bt.Analyzer):
    """The deepest fall of equity from its highest point so far, in dollars and as a share."""

    def start(self) -> None:
        self.highest = self.strategy.broker.getvalue()
        self.deepest = self.share = 0.0

    def next(self) -> None:
        equity = self.strategy.broker.getvalue()
        self.highest = max(self.highest, equity)
        self.deepest = max(self.deepest, self.highest - equity)
        if self.highest > 0:
            self.share = max(self.share, 1 - equity / self.highest)

    def get_analysis(self) -> dict[str, float]:
        return {"dollars": self.deepest, "share": self.share}


class FillsAnalyzer(bt.Analyzer):
    """The number of fills, and their contracts, dollars and fees."""

    def get_analysis(self) -> dict[str, float]:
        lines = [
            line
            for line in self.strategy.broker.journal
            if line[JOURNAL_COLUMN["kind"]] == EntryKind.FILL
        ]
        count, price, fee = (JOURNAL_COLUMN[name] for name in ("count", "price", "fee"))
        return {
            "fills": len(lines),
            "contracts": sum(line[count] for line in lines) / CONTRACT,
            "dollars": sum(line[count] * line[price] for line in lines) / MONEY,
            "fees": sum(line[fee] for line in lines) / MONEY,
        }


class ExposureAnalyzer(bt.Analyzer):
    """The share of instants with a position, and the most capital that was locked."""

    def start(self) -> None:
        self.steps = self.held = 0
        self.most = 0

    def next(self) -> None:
        locked = self.strategy.broker.ledger.locked
        self.steps += 1
        self.held += locked > 0
        self.most = max(self.most, locked)

    def get_analysis(self) -> dict[str, float | None]:
        return {
            "share": self.held / self.steps if self.steps else None,
            "most_locked": self.most / MONEY,
        }


class SettlementsAnalyzer(bt.Analyzer):
    """Positions held to settlement: market, contracts (negative for NO), settlement value."""

    def get_analysis(self) -> list[tuple[str, float, float]]:
        broker = self.strategy.broker
        ended = [dict(zip(JOURNAL, line, strict=True)) for line in broker.journal]
        return [
            (
                broker.universe.listings[line["market"]].ticker,
                line["side"] * line["count"] / CONTRACT,
                line["price"] / MONEY,
            )
            for line in ended
            if line["kind"] == EntryKind.SETTLED
        ]


ANALYZERS = (EquityAnalyzer, DrawdownAnalyzer, FillsAnalyzer, ExposureAnalyzer, SettlementsAnalyzer)
