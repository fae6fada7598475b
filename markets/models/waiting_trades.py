"""Trades of markets that are not on record yet, which wait for their definition."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Self

from django.db import models, transaction

from markets.models.markets import Market
from markets.models.trades import PublicTrade, TakerSide, Trade, TradeOrigin

# The exchange is asked again for a market that it did not know.
ASK_AGAIN_AFTER = timedelta(minutes=10)
RELEASED_AT_ONCE = 10_000


class WaitingTradeQuerySet(models.QuerySet["WaitingTrade"]):
    def release(self, *, at: datetime) -> int:
        """Record the trades whose market is known by now; return the number of new ones."""
        tickers = list(self.order_by("ticker").values_list("ticker", flat=True).distinct())
        ids = Market.objects.ids(tickers) if tickers else {}
        if not ids:
            return 0
        with transaction.atomic():
            ready = list(self.filter(ticker__in=ids)[:RELEASED_AT_ONCE])
            trades = [waiting.as_trade(ids[waiting.ticker]) for waiting in ready]
            written = Trade.objects.record(trades, source=TradeOrigin.TAPE, recorded_at=at)
            self.filter(pk__in=[waiting.pk for waiting in ready]).delete()
        return written.trades

    def tickers_to_ask(self, most: int, *, at: datetime) -> list[str]:
        """Return the markets that the exchange was not asked for lately, by first trade."""
        due = self.filter(models.Q(asked_at=None) | models.Q(asked_at__lt=at - ASK_AGAIN_AFTER))
        first = due.values("ticker").annotate(first=models.Min("created_time"))
        return list(first.order_by("first", "ticker").values_list("ticker", flat=True)[:most])

    def of(self, tickers: Iterable[str]) -> Self:
        return self.filter(ticker__in=list(tickers))

    def keep(self, waiting: Collection["WaitingTrade"]) -> None:
        """Let these trades wait; those that do already stay as they are."""
        self.bulk_create(waiting, ignore_conflicts=True)


class WaitingTrade(models.Model):
    """A public trade as it was read, by the ticker of its market."""

    trade_id = models.UUIDField(primary_key=True, editable=False)
    ticker = models.CharField(max_length=200, db_index=True)
    created_time = models.DateTimeField()
    known_at = models.DateTimeField()
    contracts = models.BigIntegerField(help_text="In 1/100 contract.")
    price = models.SmallIntegerField(help_text="Of YES, in 1/10,000 dollar.")
    taker_side = models.SmallIntegerField(choices=TakerSide, null=True, blank=True)
    is_block_trade = models.BooleanField()
    asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When the exchange was asked for the market last."
    )

    objects = WaitingTradeQuerySet.as_manager()

    class Meta:
        ordering = ["created_time", "trade_id"]

    def __str__(self) -> str:
        return f"{self.ticker} {self.trade_id}"

    @classmethod
    def of_trade(cls, trade: PublicTrade, ticker: str) -> "WaitingTrade":
        """Make one of a trade, whose market's id is not known."""
        values = trade._asdict()
        del values["market_id"]
        return cls(ticker=ticker, **values)

    def as_trade(self, market_id: int) -> PublicTrade:
        values = {name: getattr(self, name) for name in PublicTrade._fields if name != "market_id"}
        return PublicTrade(market_id=market_id, **values)
