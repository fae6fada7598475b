"""Example responses of the API, for the schema."""

from typing import Any

Answer = dict[str, Any]


NOON = "2026-11-20T12:00:00.412650Z"
TICKER = "KXHIGHNY-26NOV20-B52.5"
SOURCES = [{"name": "National Weather Service", "url": "https://www.weather.gov"}]
GRID = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
QUOTE = {
    "yes_bid": "0.4200",
    "yes_ask": "0.4500",
    "yes_bid_size": "100.00",
    "yes_ask_size": "250.00",
    "last_price": "0.4400",
    "volume": "9000.00",
    "open_interest": "5000.00",
    "yes_price": "0.43500",
    "no_price": "0.56500",
}

SERIES: Answer = {
    "ticker": "KXHIGHNY",
    "title": "Highest temperature in NYC",
    "category": "Climate and Weather",
    "tags": ["Daily temperature"],
    "frequency": "daily",
    "fee_type": "quadratic",
    "fee_multiplier": "1",
    "settlement_sources": SOURCES,
    "contract_url": "",
    "exchange_index": 0,
    "refreshed_at": "2026-11-20T06:00:03.103342Z",
}
EVENT: Answer = {
    "ticker": "KXHIGHNY-26NOV20",
    "series_ticker": "KXHIGHNY",
    "category": "Climate and Weather",
    "title": "Highest temperature in NYC on Nov 20, 2026?",
    "sub_title": "On Nov 20, 2026",
    "mutually_exclusive": True,
    "collateral_return_type": "MECNET",
    "strike_date": "2026-11-21T05:00:00Z",
    "strike_period": "",
    "settlement_sources": SOURCES,
    "fee_type_override": "",
    "fee_multiplier_override": None,
    "exchange_index": 0,
    "recorded_at": "2026-11-19T15:00:08.230412Z",
}
MARKET: Answer = {
    "ticker": TICKER,
    "event_ticker": "KXHIGHNY-26NOV20",
    "series_ticker": "KXHIGHNY",
    "category": "Climate and Weather",
    "event_title": "Highest temperature in NYC on Nov 20, 2026?",
    "title": "Will the high temperature be 52-53 degrees?",
    "yes_sub_title": "52° to 53°",
    "no_sub_title": "52° to 53°",
    "market_type": "binary",
    "status": "active",
    "result": "",
    "settlement_value": None,
    "settlement_ts": None,
    "open_time": "2026-11-19T15:00:00Z",
    "close_time": "2026-11-21T04:59:00Z",
    "expected_expiration_time": "2026-11-21T15:00:00Z",
    "latest_expiration_time": "2026-11-27T15:00:00Z",
    "can_close_early": True,
    "strike_type": "between",
    "floor_strike": "52",
    "cap_strike": "53",
    **QUOTE,
    "volume_24h": "1000.00",
    "previous_price": "0.4000",
    "quoted_at": NOON,
    "is_hot": True,
}
EVIDENCE: Answer = {
    "observed_at": "2026-11-20T12:00:40.120431Z",
    "evidence_age_seconds": 2.7,
    "being_observed": True,
}
EVENT_BRIEF = ("ticker", "title", "sub_title", "mutually_exclusive", "strike_date")
MARKET_DETAIL: Answer = {
    **MARKET,
    **EVIDENCE,
    "event": {name: EVENT[name] for name in EVENT_BRIEF},
    "price_level_structure": "linear_cent",
    "price_ranges": GRID,
    "settlement_timer_seconds": 3600,
    "rules_primary": "If the highest temperature is 52-53°, then the market resolves to Yes.",
    "rules_secondary": "",
    "exchange_index": 0,
    "is_provisional": False,
    "is_placeholder": False,
    "created_time": "2026-11-18T15:00:00Z",
    "updated_time": "2026-11-19T15:00:00Z",
    "recorded_at": "2026-11-19T15:00:08.230412Z",
}
SNAPSHOT: Answer = {
    "id": "01a1f8d3-eb9a-7c2f-b8eb-413277ab9525",
    "ticker": TICKER,
    "timestamp": NOON,
    "recorded_at": "2026-11-20T12:00:00.598817Z",
    "source": "POLL",
    "sequence": None,
    **QUOTE,
    "quality": 0,
    "raw_data": None,
}
LATEST = SNAPSHOT | EVIDENCE
TRADE: Answer = {
    "trade_id": "7c0b5e6e-3f47-4a7c-93c6-6a1fbb4b9d11",
    "ticker": TICKER,
    "created_time": "2026-11-20T11:59:41.120000Z",
    "count": "12.50",
    "yes_price": "0.4400",
    "taker_outcome_side": "yes",
    "taker_book_side": "bid",
    "is_block_trade": False,
    "source": "TAPE",
    "known_at": "2026-11-20T11:59:45.318204Z",
    "recorded_at": "2026-11-20T11:59:45.402118Z",
}
TAPE_SPAN: Answer = {
    "start": "2026-11-20T00:00:03.120884Z",
    "end": "2026-11-20T12:00:01.700119Z",
    "seconds": 43198.579235,
    "is_whole": True,
    "proof": "joined",
    "extent": "all",
    "with_combos": False,
    "series": [],
    "categories": [],
    "known_at": None,
}
TAPE_DAY: Answer = {
    "day": "2026-11-20",
    "share": 0.9998,
    "markets": 21_344,
    "agreeing": 21_302,
    "contracts": "8114032.50",
    "volume": "8114190.25",
    "compared_at": "2026-11-21T01:10:00.482113Z",
}
REVISION: Answer = {
    "id": 4711,
    "ticker": TICKER,
    "known_at": "2026-11-19T15:00:08.230412Z",
    "known_at_assumed": False,
    "recorded_at": "2026-11-19T15:00:08.301220Z",
    "status": "active",
    "result": "",
    "settlement_value": None,
    "settlement_ts": None,
    "open_time": "2026-11-19T15:00:00Z",
    "close_time": "2026-11-21T04:59:00Z",
    "expected_expiration_time": "2026-11-21T15:00:00Z",
    "price_ranges": GRID,
}
CANDLESTICK: Answer = {
    "start": "2026-11-20T12:00:00Z",
    "yes_bid_open": "0.4200",
    "yes_bid_high": "0.4300",
    "yes_bid_low": "0.4100",
    "yes_bid_close": "0.4300",
    "yes_ask_open": "0.4500",
    "yes_ask_high": "0.4600",
    "yes_ask_low": "0.4500",
    "yes_ask_close": "0.4600",
    "last_price": "0.4400",
    "volume": "37.50",
    "snapshots": 9,
    "state": "recorded",
}
BOOK: Answer = {
    "ticker": TICKER,
    "timestamp": NOON,
    "evidence_age_seconds": 3.2,
    "being_observed": True,
    "bids": [{"price": "0.4200", "size": "100.00"}, {"price": "0.4100", "size": "300.00"}],
    "asks": [{"price": "0.4500", "size": "250.00"}],
}
ORDER_BOOK: Answer = {
    "id": "019aa02f-6c00-7c2e-9a41-0f5a3a1d6b77",
    "ticker": TICKER,
    "timestamp": NOON,
    "bid_prices": ["0.4200", "0.4100"],
    "bid_sizes": ["100.00", "300.00"],
    "ask_prices": ["0.4500"],
    "ask_sizes": ["250.00"],
}
COVERAGE: Answer = {
    "start": "2026-11-20T12:00:00Z",
    "end": "2026-11-20T13:00:00Z",
    "expected": [
        {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z", "fresh_for": 15.0}
    ],
    "observed": 3420.0,
    "share": 0.95,
    "sources": [{"source": "POLL", "observed": 3420.0}],
    "gaps": [
        {
            "start": "2026-11-20T12:30:00Z",
            "end": "2026-11-20T12:33:00Z",
            "cause": "our outage",
            "detail": "",
            "counted": True,
        }
    ],
    "fresh": 3435.0,
    "stale": [{"start": "2026-11-20T12:30:15Z", "end": "2026-11-20T12:33:00Z"}],
    "quiet": [{"start": "2026-11-20T12:02:10Z", "end": "2026-11-20T12:07:10Z"}],
}
OUTAGE: Answer = {
    "start": "2026-11-20T12:30:00.408120Z",
    "end": "2026-11-20T12:33:00.003412Z",
    "cause": "our outage",
    "detail": "no run",
    "seconds": 179.595292,
}
IMPORT: Answer = {
    "id": 12,
    "group": "5f0c1d1e-8a55-4c39-9f0a-3a4f6d9b7c10",
    "kind": "quotes",
    "state": "finished",
    "file": "bot-log.csv",
    "by": "ann",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size": 48210331,
    "started_at": "2026-11-20T12:00:00.003120Z",
    "finished_at": "2026-11-20T12:00:09.918872Z",
    "undone_at": None,
    "said": {"unit": "cents", "recording": "on-change", "gap_after": 60},
    "rows": 350112,
    "refused": 3,
    "duplicates": 0,
    "line": 350116,
    "used_by": ["backtest 31"],
}
POLL: Answer = {
    "id": 12,
    "started_at": "2026-11-20T12:00:00.003120Z",
    "finished_at": "2026-11-20T12:00:02.918872Z",
    "failed": False,
    "warned": False,
    "pages": 4,
    "requests": 9,
    "bytes": 2894310,
    "throttled": 0,
    "markets": 3500,
    "snapshots": 412,
    "order_books": 7,
    "rejected": 0,
    "ages": {"hot": {"p50": 5.0, "p95": 5.2, "max": 5.4}},
    "exchange_active": True,
    "trading_active": True,
}
CALIBRATION: Answer = {
    "read_at": NOON,
    "coverage": {
        "eligible": 816,
        "used": 240,
        "events": 136,
        "share": 0.29411764705882354,
        "left_out": [{"reason": "no_quote", "count": 552}, {"reason": "wide", "count": 24}],
        "anchors": [{"anchor": "scheduled_close", "count": 240}],
    },
    "scores": {
        "count": 240,
        "events": 136,
        "price": 0.21,
        "outcome": 0.2,
        "bias": -0.01,
        "bias_low": -0.03,
        "bias_high": 0.02,
        "brier": 0.11,
        "brier_low": 0.09,
        "brier_high": 0.13,
        "reliability": 0.002,
        "resolution": 0.051,
        "uncertainty": 0.16,
        "within_bins": -0.001,
        "skill": 0.3125,
        "log_loss": 0.36,
    },
    "curve": [
        {
            "low": 0.0,
            "high": 0.1,
            "count": 120,
            "events": 90,
            "price": 0.041,
            "outcome": 0.033,
            "outcome_low": 0.008,
            "outcome_high": 0.067,
        }
    ],
    "returns_yes": [
        {
            "low": 0.0,
            "high": 0.1,
            "count": 120,
            "events": 90,
            "price": 0.05,
            "fee": 0.0034,
            "net": -0.38,
            "net_low": -0.85,
            "net_high": 0.21,
        }
    ],
    "returns_no": [],
    "fees_unknown": 0,
    "trail": {
        "window": 200,
        "at": [1795273330000],
        "score": [0.3192],
        "average": [None],
        "classes": [180, 22, 9, 6, 5, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
    },
    "breakdown": {
        "by": "category",
        "groups": [
            {
                "group": "Climate and Weather",
                "count": 240,
                "events": 136,
                "price": 0.21,
                "outcome": 0.2,
                "bias": -0.01,
                "bias_low": -0.03,
                "bias_high": 0.02,
                "brier": 0.11,
                "brier_low": 0.09,
                "brier_high": 0.13,
                "skill": 0.3125,
            }
        ],
        "left_out": 0,
    },
}
CALIBRATION_MARKET: Answer = {
    "ticker": TICKER,
    "event_ticker": "KXHIGHNY-26NOV20",
    "series_ticker": "KXHIGHNY",
    "category": "Climate and Weather",
    "observed_at": "2026-11-20T04:59:00Z",
    "quoted_at": "2026-11-20T04:58:41.210733Z",
    "anchor": "scheduled_close",
    "yes_bid": "0.4200",
    "yes_ask": "0.4500",
    "price": 0.435,
    "outcome": 1.0,
    "settled_at": "2026-11-21T15:02:10Z",
}
