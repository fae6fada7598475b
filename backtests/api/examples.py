"""Example answers, for the schema."""

from typing import Any

Answer = dict[str, Any]

STRATEGY: Answer = {
    "name": "fade-longshots",
    "version": "1",
    "kind": "signal",
    "origin": "shipped",
    "file": "",
    "error": "",
    "warning": "",
    "is_yardstick": False,
    "summary": "Buys NO where YES is cheap but overpriced, and holds it to settlement.",
    "parameters": [
        {
            "name": "ceiling",
            "type": "number",
            "default": 0.15,
            "minimum": 0.01,
            "maximum": 0.5,
            "choices": [],
            "unit": "dollars",
            "help": "YES is a longshot up to this midpoint.",
        }
    ],
}
EXECUTION: Answer = {
    "latency_seconds": 1.0,
    "patience_seconds": 7200.0,
    "across_gaps": "expire",
    "assumed_size": None,
    "assumed_queue": None,
    "clock_tolerance": 1.0,
    "position_limit": None,
    "make": False,
    "through_broker": False,
}
REQUEST: Answer = {
    "strategy": "fade-longshots",
    "params": {"ceiling": 0.12},
    "series": ["KXHIGHNY"],
    "start": "2026-11-19T00:00:00Z",
    "end": "2026-11-20T00:00:00Z",
    "cash": "10000",
}
BRIEF: Answer = {
    "id": 7,
    "status": "done",
    "progress": 1.0,
    "doing": "",
    "strategy": "fade-longshots",
    "strategy_version": "1",
    "params": {"ceiling": 0.12, "contracts": 10},
    "series": ["KXHIGHNY"],
    "events": [],
    "tickers": [],
    "start": "2026-11-19T00:00:00Z",
    "end": "2026-11-20T00:00:00Z",
    "cash": "10000.000000",
    "engine": "kernel",
    "created_at": "2026-11-20T12:00:00.412650Z",
    "finished_at": "2026-11-20T12:00:02.918872Z",
    "error": "",
    "snapshots": 48210,
    "markets": 6,
    "final_cash": "10014.310000",
    "pnl": "14.310000",
    "verdict": "Earned $14.31 on $10,000.00 over 24 hours after $1.02 fees; 6 independent events:"
    " too few to annualise.",
}
FIGURES = {
    "days": 1.0,
    "total_return": 0.001431,
    "money": {"start_cash": 10_000_000_000, "fees": 1_020_000, "pnl": 14_310_000},
    "drawdown": {"amount": 210_000, "share": 0.000021},
    "events": {"traded": 6, "won": 5, "win_rate": 0.8333},
}
BACKTEST: Answer = {
    **BRIEF,
    "sources": "best",
    "imports": [],
    "execution": EXECUTION,
    "cancel_requested": False,
    "claimed_at": "2026-11-20T12:00:00.511200Z",
    "fees": {"account": "direct", "roundings": []},
    "code_fingerprint": {"rules": "9f86d081884c7d65"},
    "data_fingerprint": {"quotes": "60303ae22b998861"},
    "strategy_files": {},
    "analyses": {"drawdown": {"analysis": {"max": {"drawdown": 0.0021, "len": 3}}}},
    "conditions": [],
    "figures": FIGURES,
    "band": {"fewest": FIGURES, "expected": FIGURES, "most": FIGURES},
    "yardsticks": {"do-nothing": FIGURES},
    "curve": {"t": [1795132800000, 1795219200000], "equity": [10_000_000_000, 10_014_310_000]},
    "assumptions": ["The time at which some results were known was assumed."],
    "check_lookahead": True,
    "lookahead": {"verdict": "clean", "words": "Clean: 41 decisions compared over 212 runs."},
}
EXECUTION_ENTRY: Answer = {
    "number": 2,
    "at": "2026-11-19T04:10:31.355077Z",
    "kind": "fill",
    "ticker": "KXHIGHNY-26NOV19-B52.5",
    "order": 0,
    "outcome_side": "no",
    "book_side": "ask",
    "count": "10.00",
    "price": "0.1100",
    "settlement_value": None,
    "fee": "0.070000",
    "liquidity": "taker",
    "reason": "",
    "cash_change": "-8.970000",
    "cash": "9991.030000",
    "position": "-10.00",
    "quote_at": "2026-11-19T04:10:31.355077Z",
    "yes_bid": "0.1100",
    "yes_ask": "0.1300",
    "yes_bid_size": "340.00",
    "yes_ask_size": "90.00",
    "waited": None,
    "across_gap": False,
    "stated_reason": "overpriced by 2 cents",
}
CHARTED_SERIES: Answer = {
    "ticker": "KXHIGHNY-26NOV19-B52.5",
    "name": "stated probability",
    "t": [1795132800000, 1795136400000],
    "values": [0.084, None],
    "is_thinned": False,
}
EQUITY: Answer = {
    "columns": {
        "t": [1795132800000, 1795219200000],
        "equity": [10000.0, 10014.31],
        "drawdown": [0.0, 0.0],
    },
    "next": None,
}
DEFLATION: Answer = {
    "trials": 14,
    "periods": 212,
    "probabilistic_sharpe": 0.9712,
    "expected_maximum_sharpe": 2.31,
    "deflated_sharpe": 0.5384,
    "least_track_record": 48211.5,
    "withheld": "",
    "words": "14 trials of this strategy so far, in every version, with all parameters and markets,"
    " searches included. Without any skill, the best of so many is expected to show an annual"
    " Sharpe ratio of 2.31. The true ratio is above that with a probability of 53.8%: it may well"
    " be luck. It would take 48,212 days of such returns to be 95 % certain; it has 212.",
}
RESULT_OBJECTS = (
    "fees", "code_fingerprint", "data_fingerprint", "figures", "band", "yardsticks", "curve",
    "lookahead", "analyses",
)  # fmt: skip
QUEUED: Answer = BACKTEST | {
    "status": "queued",
    "progress": 0.0,
    **dict.fromkeys(("finished_at", "claimed_at", "snapshots", "markets", "final_cash", "pnl")),
    **{name: {} for name in RESULT_OBJECTS},
    "verdict": "",
    "assumptions": [],
}

SEARCH_REQUEST: Answer = {
    "strategy": "fade-longshots",
    "vary": {"ceiling": "0.05:0.25:0.05", "edge": [0.0, 0.01, 0.02]},
    "params": {"contracts": 10},
    "series": ["KXHIGHNY"],
    "start": "2026-10-01T00:00:00Z",
    "end": "2026-11-20T00:00:00Z",
    "folds": 4,
    "embargo_hours": 24.0,
}
SEARCH: Answer = {
    "id": 3,
    "status": "done",
    "progress": 1.0,
    "points": 15,
    "strategy": "fade-longshots",
    "strategy_version": "1",
    "params": {"contracts": 10},
    "varied": {"ceiling": [0.05, 0.1, 0.15, 0.2, 0.25], "edge": [0.0, 0.01, 0.02]},
    "runs": None,
    "seed": 0,
    "folds": 4,
    "embargo_hours": 24.0,
    "series": ["KXHIGHNY"],
    "events": [],
    "tickers": [],
    "sources": "best",
    "imports": [],
    "start": "2026-10-01T00:00:00Z",
    "end": "2026-11-20T00:00:00Z",
    "cash": "10000.000000",
    "engine": "kernel",
    "execution": EXECUTION,
    "created_at": "2026-11-20T12:00:00.412650Z",
    "finished_at": "2026-11-20T12:00:09.118872Z",
    "error": "",
    "snapshots": 482103,
    "markets": 300,
    "plan": {
        "t": [1790812800000, 1790834400000],
        "folds": [{"begins": 1791676800000, "ends": 1792540800000, "train": 60, "test": 44}],
        "untested": 11,
        "unresolved": 6,
    },
    "figures": {
        "best": 5,
        "ran": 15,
        "probability_of_overfitting": 0.62,
        "walk_forward": {
            "pnl": -3_120_000,
            "in_sample_pnl": 21_400_000,
            "points": 15,
            "folds": [{"point": 5, "train": 9_300_000, "test": -3_120_000, "rank": 11}],
            "out_of_sample": [10_000_000_000, 9_996_880_000],
            "in_sample": [10_000_000_000, 10_021_400_000],
        },
    },
    "code_fingerprint": {"rules": "9f86d081884c7d65"},
    "data_fingerprint": {"quotes": "60303ae22b998861"},
    "strategy_files": {},
}
QUEUED_SEARCH: Answer = SEARCH | {
    "status": "queued",
    "progress": 0.0,
    **dict.fromkeys(("finished_at", "snapshots", "markets")),
    **{
        name: {}
        for name in ("plan", "figures", "code_fingerprint", "data_fingerprint", "strategy_files")
    },
}
SEARCH_POINT: Answer = {
    "number": 5,
    "params": {"ceiling": 0.1, "edge": 0.01},
    "error": "",
    "pnl": "34.120000",
    "test_pnl": "-3.120000",
    "fees": "4.410000",
    "fills": 210,
    "events": 48,
    "won": 44,
    "days": 50,
    "sharpe": None,
    "folds": [{"train": 9_300_000, "test": -3_120_000}],
}
