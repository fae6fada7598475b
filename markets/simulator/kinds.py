"""Kinds of series. Each function builds a series from the values that differ within its kind."""

from __future__ import annotations

from markets.simulator.cadence import (
    DAY,
    HOUR,
    MINUTE,
    WEEK,
    Every,
    Monthly,
    Weekdays,
    hour_code,
    minute_code,
    minute_label,
    month_code,
    month_label,
    year_code,
    year_label,
)
from markets.simulator.names import (
    PEOPLE,
    RATES,
)
from markets.simulator.series import SimulatedSeries
from markets.simulator.shapes import Bins, Field, Ladder, Match, UpDown

GAME_EARLY = "Trading ends as soon as the game is decided."
NUMBER_RULE = "Resolves to Yes if {topic} for {when} is {condition}."


def weather(code: str, name: str, usual: int, *, core: bool) -> SimulatedSeries:
    return SimulatedSeries(
        ticker=f"KXHIGH{code}",
        title=f"Highest temperature in {name}",
        category="Climate and Weather",
        tags=("Daily temperature",),
        frequency="daily",
        source=("National Weather Service", "https://www.weather.gov"),
        question=f"Highest temperature in {name} on {{when}}?",
        rule=NUMBER_RULE.replace("{topic}", f"the highest temperature at the {name} station"),
        shape=Bins(usual, 3.5, 2, 6, swing=0.12, label="{}°"),
        cadence=Every(DAY, phase=29 * HOUR),
        lead=38 * HOUR,
        late_length=14 * HOUR,
        known=0.35,
        pace=(120, 12),
        trades=(300, 500),
        delay=9 * HOUR,
        structure="linear_cent",
        core=core,
    )


def crypto(coin: str, name: str, price: float, *, step: int) -> list[SimulatedSeries]:
    shared = {
        "category": "Crypto",
        "tags": (name,),
        "source": ("Reference rate of several venues", "https://www.cfbenchmarks.com"),
        "exchange_index": 2,
        "structure": "tapered_deci_cent",
        "underlying": coin,
    }
    hourly = SimulatedSeries(
        ticker=f"KX{coin}D",
        title=f"{name} price each hour",
        frequency="hourly",
        question=f"{name} price on {{when}}?",
        rule=NUMBER_RULE.replace("{topic}", f"the price of {name}"),
        shape=Ladder(price, step * 1.6, step, 14, 2, offset=-0.01, swing=0.08, label="${:,.2f}"),
        cadence=Every(HOUR),
        lead=2 * HOUR,
        code=hour_code,
        when=minute_label,
        late_length=HOUR,
        known=0.35,
        pace=(24, 1),
        trades=(100, 2000),
        width=0.008,
        quiet=0.05,
        delay=2 * MINUTE,
        timer=MINUTE,
        **shared,  # type: ignore[arg-type]
    )
    quarter = SimulatedSeries(
        ticker=f"KX{coin}15M",
        title=f"{name} up or down, fifteen minutes",
        frequency="fifteen_min",
        question=f"{name} up in the fifteen minutes to {{when}}?",
        rule=NUMBER_RULE.replace("{topic}", f"the price of {name}"),
        shape=UpDown(price, step * 0.6, step, 1, 2, swing=0.08, label="${:,.2f}"),
        cadence=Every(15 * MINUTE),
        lead=15 * MINUTE,
        code=minute_code,
        when=minute_label,
        late_length=10 * MINUTE,
        known=0.2,
        pace=(2, 1),
        trades=(200, 1200),
        width=0.008,
        quiet=0.0,
        delay=30,
        timer=30,
        **shared,  # type: ignore[arg-type]
    )
    return [hourly, quarter]


def statistic(
    ticker: str, title: str, *, shape: Ladder, cadence: Monthly, lead: int = 60 * DAY
) -> SimulatedSeries:
    """A statistic that is published at a known minute; trading ends shortly before."""
    return SimulatedSeries(
        ticker=ticker,
        title=title,
        category="Economics",
        tags=("Statistics",),
        frequency="monthly",
        source=("Bureau of Labor Statistics", "https://www.bls.gov"),
        question=f"{title} in {{when}}?",
        rule=NUMBER_RULE.replace("{topic}", title.lower()),
        shape=shape,
        cadence=cadence,
        lead=lead,
        code=month_code,
        when=month_label,
        late_length=2 * DAY,
        known=0.5,
        reveal=0.8,
        pace=(240, 60),
        delay=10 * MINUTE,
        structure="deci_cent",
    )


def sport(
    ticker: str, name: str, teams: tuple[tuple[str, str], ...], *, at: int, hours: int
) -> SimulatedSeries:
    shape = Match(teams)
    return SimulatedSeries(
        ticker=ticker,
        title=f"{name} game",
        category="Sports",
        tags=(name,),
        source=("The league", "https://www.espn.com"),
        question="{away} at {home}: who wins?",
        rule="Resolves to Yes if {label} wins the game between {away} and {home} on {when}.",
        shape=shape,
        teams=shape,
        cadence=Every(DAY, phase=at * HOUR),
        lead=72 * HOUR,
        subjects=tuple(("", "") for _ in range(len(teams) // 2)),
        spacing=15 * MINUTE,
        known=0.25,
        pace=(90, 2),
        trades=(1500, 5000),
        width=0.007,
        quiet=0.05,
        duration=hours * HOUR,
        early=GAME_EARLY,
        delay=5 * MINUTE,
        timer=5 * MINUTE,
        exchange_index=3,
        fee_type="quadratic_with_maker_fees",
        structure="center_whole_edge_half_cent",
    )


def game_ladder(
    game: SimulatedSeries, suffix: str, *, word: str, shape: Ladder, core: bool
) -> SimulatedSeries:
    return SimulatedSeries(
        ticker=game.ticker.removesuffix("GAME") + suffix,
        title=f"{game.title}: {word}",
        category="Sports",
        tags=game.tags,
        source=game.source,
        question=f"{{away}} at {{home}}: {word}?",
        rule=f"Resolves to Yes if the {word} of {{away}} at {{home}} on {{when}} is {{condition}}.",
        shape=shape,
        teams=game.teams,
        cadence=game.cadence,
        lead=game.lead,
        subjects=game.subjects,
        spacing=game.spacing,
        known=game.known,
        pace=(150, 3),
        trades=(200, 500),
        width=0.018,
        quiet=0.35,
        duration=game.duration,
        early=GAME_EARLY,
        delay=game.delay,
        timer=game.timer,
        exchange_index=3,
        core=core,
    )


def weekly(
    ticker: str, title: str, topic: str, *, shape: Bins | Ladder, category: str
) -> SimulatedSeries:
    return SimulatedSeries(
        ticker=ticker,
        title=title,
        category=category,
        tags=("Weekly",),
        frequency="weekly",
        source=("The publisher's own page", "https://www.example.org"),
        question=f"{title}, {{when}}?",
        rule=NUMBER_RULE.replace("{topic}", topic),
        shape=shape,
        cadence=Every(WEEK, phase=4 * DAY + 14 * HOUR),
        lead=9 * DAY,
        late_length=DAY,
        known=0.5,
        pace=(360, 120),
        trades=(120, 80),
        width=0.02,
        quiet=0.2,
        structure="center_half_edge_quint_cent",
    )


def contest(
    ticker: str, title: str, *, shape: Field, subjects: tuple[tuple[str, str], ...], category: str
) -> SimulatedSeries:
    """A contest that is open for most of a year or two, and quiet for most of that time."""
    elected = category == "Elections"
    return SimulatedSeries(
        ticker=ticker,
        title=title,
        category=category,
        tags=("Awards",) if not elected else ("US elections",),
        source=("The organiser's announcement", "https://apnews.com"),
        question=f"{title}: {{subject}}, {{when}}?" if subjects[0][1] else f"{title}, {{when}}?",
        rule="Resolves to Yes if {label} wins. Contest: {title} {subject}, {when}.",
        shape=shape,
        subjects=subjects,
        cadence=Every((730 if elected else 365) * DAY, phase=20 * DAY + 2 * HOUR),
        spacing=4 * DAY,
        lead=(640 if elected else 300) * DAY,
        code=year_code if len(subjects) == 1 else month_code,
        when=year_label,
        late_length=12 * HOUR,
        known=0.6,
        pace=(1080, 24),
        trades=(500, 300),
        width=0.015,
        quiet=0.4,
        early="Trading ends when the winner is announced.",
        delay=2 * HOUR,
        timer=2 * HOUR,
        structure="tapered_deci_cent",
    )


def season(stat: str, word: str, usual: int) -> SimulatedSeries:
    """A player's total. This kind makes thousands of markets that hardly ever trade."""
    return SimulatedSeries(
        ticker=f"KXPLAYER{stat}",
        title=f"Player {word} in the month",
        category="Sports",
        tags=("Players",),
        source=("The league", "https://www.espn.com"),
        question=f"{{subject}}: {word} in the month to {{when}}?",
        rule=f"Resolves to Yes if {{subject}}'s {word} in the month to {{when}} are {{condition}}.",
        shape=Ladder(
            usual, usual * 0.18, max(usual // 24, 1), 20, swing=0.1, strike_type="greater_or_equal"
        ),
        subjects=PEOPLE,
        cadence=Every(30 * DAY, phase=6 * HOUR),
        spacing=7 * DAY + 37 * MINUTE,
        lead=40 * DAY,
        late_length=2 * DAY,
        known=0.7,
        pace=(150, 60),
        trades=(30, 15),
        width=0.03,
        quiet=0.75,
        delay=3 * HOUR,
        timer=2 * HOUR,
        structure="deci_cent",
        core=False,
    )


def stock_index() -> SimulatedSeries:
    return SimulatedSeries(
        ticker="KXINX",
        title="S&P 500 at the close",
        category="Financials",
        tags=("Indices",),
        frequency="daily",
        source=("S&P Dow Jones Indices", "https://www.spglobal.com"),
        question="S&P 500 at the close on {when}?",
        rule=NUMBER_RULE.replace("{topic}", "the closing value of the S&P 500"),
        shape=Bins(6600, 42, 25, 12, 2, swing=0.05, label="{:,.2f}"),
        cadence=Weekdays(phase=21 * HOUR),
        lead=30 * HOUR,
        late_length=6 * HOUR + 30 * MINUTE,
        known=0.3,
        pace=(60, 4),
        trades=(150, 500),
        delay=5 * MINUTE,
        timer=10 * MINUTE,
        fee_multiplier=0.5,
        structure="center_whole_edge_half_cent",
    )


def fed() -> SimulatedSeries:
    return SimulatedSeries(
        ticker="KXFEDDECISION",
        title="Fed decision",
        category="Economics",
        tags=("Fed", "Interest rates"),
        source=("Federal Reserve", "https://www.federalreserve.gov"),
        question="What will the Federal Reserve decide on {when}?",
        rule="Resolves to Yes if the decision announced on {when} is: {label}.",
        shape=Field(RATES, 5, (0.02, 0.22, 0.7, 0.05, 0.01), 0.0),
        cadence=Every(42 * DAY, phase=13 * DAY + 18 * HOUR + 55 * MINUTE),
        lead=170 * DAY,
        late_length=5 * DAY,
        known=0.7,
        pace=(120, 24),
        trades=(6000, 2500),
        width=0.005,
        quiet=0.0,
        delay=10 * MINUTE,
    )
