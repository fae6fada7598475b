"""The series of the simulated exchange. Their kinds exist on Kalshi; their texts are our own."""

from __future__ import annotations

from markets.simulator.cadence import (
    DAY,
    HOUR,
    MINUTE,
    Every,
    Monthly,
)
from markets.simulator.kinds import (
    GAME_EARLY,
    contest,
    crypto,
    fed,
    game_ladder,
    season,
    sport,
    statistic,
    stock_index,
    weather,
    weekly,
)
from markets.simulator.names import (
    BASEBALL,
    BASKETBALL,
    CITIES,
    DISTRICTS,
    FILMS,
    FOOTBALL,
    PARTIES,
    PEOPLE,
    PRIZES,
    SONGS,
    SPORTS,
    STATES,
    STATISTICS,
    TENNIS,
)
from markets.simulator.series import SimulatedSeries
from markets.simulator.shapes import Bins, Field, Ladder


def players_and_prizes() -> list[SimulatedSeries]:
    return [
        contest(
            "KXPRIZE",
            "Prize winner",
            shape=Field(PEOPLE, 30),
            subjects=PRIZES,
            category="Entertainment",
        ),
        contest(
            "KXHOUSE",
            "House race winner",
            shape=Field(PARTIES, 2, others=0.01),
            subjects=DISTRICTS,
            category="Elections",
        ),
        *(season(*row) for row in STATISTICS),
    ]


def catalogue() -> list[SimulatedSeries]:
    """List every series, the indispensable ones first, because a small universe takes the first."""
    return [
        *(weather(*city, core=i < 6) for i, city in enumerate(CITIES)),
        *crypto("BTC", "Bitcoin", 97_000.0, step=250),
        *crypto("ETH", "Ethereum", 3_400.0, step=20),
        fed(),
        stock_index(),
        *statistics(),
        *sports(),
        *weeklies(),
        *contests(),
        *players_and_prizes(),
    ]


def statistics() -> list[SimulatedSeries]:
    return [
        statistic(
            "KXCPIYOY",
            "Consumer prices, yearly change",
            shape=Ladder(2.9, 0.15, 0.1, 8, 1, label="{}%"),
            cadence=Monthly(12, 13 * HOUR + 25 * MINUTE),
        ),
        statistic(
            "KXPAYROLLS",
            "Jobs added",
            shape=Ladder(120_000, 45_000, 25_000, 9, swing=0.4),
            cadence=Monthly(4, 13 * HOUR + 25 * MINUTE),
        ),
        statistic(
            "KXGDP",
            "Growth of real GDP",
            shape=Ladder(2.2, 0.6, 0.5, 8, 1, label="{}%"),
            cadence=Monthly(28, 12 * HOUR + 25 * MINUTE, months=3),
            lead=120 * DAY,
        ),
    ]


def sports() -> list[SimulatedSeries]:
    baseball = sport("KXMLBGAME", "Baseball", BASEBALL, at=17, hours=3)
    football = sport("KXNFLGAME", "Football", FOOTBALL, at=18, hours=3)
    basketball = sport("KXNBAGAME", "Basketball", BASKETBALL, at=19, hours=2)
    tennis = sport("KXATPMATCH", "Tennis", TENNIS, at=9, hours=2)
    ladders = game_ladders(baseball, football, basketball)
    return [baseball, football, basketball, tennis, *ladders]


def weeklies() -> list[SimulatedSeries]:
    return [
        weekly(
            "KXAAAGASW",
            "Average price of gasoline",
            "the national average price of a gallon of regular",
            shape=Ladder(3.1, 0.03, 0.01, 8, 3, label="${:.3f}", swing=0.08),
            category="Economics",
        ),
        weekly(
            "KXRT",
            "Critics' score of the week's film",
            "the share of favourable reviews",
            shape=Ladder(68, 9, 5, 9, swing=0.2),
            category="Entertainment",
        ),
        weekly(
            "KXTSAW",
            "Air travellers screened",
            "the week's daily average of travellers screened",
            shape=Ladder(2_550_000, 60_000, 50_000, 8, swing=0.08),
            category="Transportation",
        ),
        weekly(
            "KXAPPROVE",
            "Approval of the President",
            "the average approval rating",
            shape=Bins(42.0, 0.7, 0.5, 8, 1, label="{}%"),
            category="Politics",
        ),
    ]


def contests() -> list[SimulatedSeries]:
    once = (("", ""),)
    parties = Field(PARTIES, 2, others=0.01)
    fun = "Entertainment"
    songs, films, players = Field(SONGS, 12), Field(FILMS, 10), Field(PEOPLE, 16)
    return [
        contest("KXSONGYEAR", "Song of the year", shape=songs, subjects=once, category=fun),
        contest("KXFILMYEAR", "Film of the year", shape=films, subjects=once, category=fun),
        contest("KXMVP", "Most valuable player", shape=players, subjects=SPORTS, category="Sports"),
        contest(
            "KXSENATE", "Senate race winner", shape=parties, subjects=STATES, category="Elections"
        ),
    ]


def game_ladders(
    baseball: SimulatedSeries, football: SimulatedSeries, basketball: SimulatedSeries
) -> list[SimulatedSeries]:
    more = "greater_or_equal"
    return [
        game_ladder(
            football,
            "SPREAD",
            word="home margin",
            shape=Ladder(8, 12, 3, 10, strike_type=more),
            core=True,
        ),
        game_ladder(
            basketball,
            "TOTAL",
            word="total points",
            shape=Ladder(224, 17, 4, 12, strike_type=more),
            core=True,
        ),
        game_ladder(
            baseball,
            "TOTAL",
            word="total runs",
            shape=Ladder(8, 4, 1, 10, strike_type=more),
            core=False,
        ),
        game_ladder(
            football,
            "TOTAL",
            word="total points",
            shape=Ladder(44, 12, 3, 12, strike_type=more),
            core=False,
        ),
        game_ladder(
            basketball,
            "SPREAD",
            word="home margin",
            shape=Ladder(9, 12, 3, 10, strike_type=more),
            core=False,
        ),
    ]


COMBO = SimulatedSeries(
    ticker="KXMVESPORTSMULTIGAME",
    title="Combination",
    category="Exotics",
    tags=("Combos",),
    source=("The legs' own sources", "https://www.example.org"),
    question="Combination of two legs on {when}",
    rule="Resolves to Yes if every leg resolves as selected: {label}.",
    shape=Ladder(8, 12, 3, 1),
    cadence=Every(DAY),
    lead=72 * HOUR,
    width=0.03,
    quiet=0.5,
    trades=(20, 40),
    exchange_index=1,
    known=0.25,
    early=GAME_EARLY,
    fee_type="quadratic_with_combo_maker_fees",
    structure="center_deci_edge_centi_cent",
)
