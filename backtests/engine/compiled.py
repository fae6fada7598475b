"""Compilation by numba: the decorator of the kernel's functions, and the rules that they call.

The kernel follows the same rules as `event_driven`, with the same functions, compiled here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
from numba import types

from backtests.data import candles, gaps, tape
from backtests.engine.kernel_cache import cache_folder
from backtests.rules import execution, ledger, queue, untaped
from kalshi_insights import arrays
from markets import fees
from markets.observed import first_observation, is_observed

F = TypeVar("F", bound=Callable[..., Any])

CONFIG: Any = numba.config
# NUMBA_CACHE_DIR, as numba has read it.
CHOSEN_FOLDER: str = CONFIG.CACHE_DIR
CACHE = cache_folder(Path(__file__).resolve().with_name("kernel.py"), chosen=CHOSEN_FOLDER)


def compiled(function: F, *, from_python: bool = False) -> F:
    """Compile a function once and cache it in a file; it releases the GIL while it runs.

    These functions borrow arrays and never make or keep one. So numba need not count references
    (`_nrt`), which would cost more than the work of a function that is passed the whole run.
    Only compiled code can call them, unless they are meant to be called `from_python`: taking so
    many arrays from Python takes longer to compile than the function itself. Where no folder can
    be written, each process compiles for itself.
    """
    options: Any = {"cache": CACHE is not None, "nogil": True, "_nrt": False}
    if not from_python:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    # numba asks for the folder only while it decorates; code of others keeps its own.
    CONFIG.CACHE_DIR = str(CACHE or "")
    try:
        return cast(F, _once_for_all_constants(numba.njit(**options)(function)))
    finally:
        CONFIG.CACHE_DIR = CHOSEN_FOLDER


def _once_for_all_constants(dispatcher: Any) -> Any:
    """Let calls with different constants share compiled code.

    numba would compile a function again for each constant that others pass to it: `write_entry`
    fourteen times.
    """
    find = dispatcher.get_call_template

    def find_by_types(args: Sequence[Any], kws: Mapping[str, Any]) -> Any:
        named = zip(kws, map(types.unliteral, kws.values()), strict=True)
        return find(tuple(map(types.unliteral, args)), dict(named))

    dispatcher.get_call_template = find_by_types
    return dispatcher


@cache
def compiled_with_calls(function: Any) -> Any:
    """Compile a function together with those of ours that it calls."""
    known = function.__globals__
    called = {
        name: compiled_with_calls(known[name])
        for name in function.__code__.co_names
        if isinstance(known.get(name), FunctionType)
    }
    return compiled(FunctionType(function.__code__, {**known, **called}))


flow = compiled(ledger.flow)
payout = compiled(ledger.payout)
charge = compiled(fees.charge)
bound = compiled(fees.bound)
offered_size = compiled(execution.offered_size)
still_taken = compiled(execution.still_taken)
crosses = compiled(execution.crosses)
traded_between = compiled(execution.traded_between)
exceeds_limit = compiled(execution.exceeds_limit)
on_grid = compiled(execution.on_grid)
end_of_way = compiled(execution.end_of_way)
taken_at_once = compiled(execution.taken_at_once)
differ = compiled(execution.differ)
meets_earlier = compiled(execution.meets_earlier)
is_refused_post_only = compiled(execution.is_refused_post_only)
is_evidence = compiled(queue.is_evidence)
shown_at = compiled(queue.shown_at)
queue_when_joining = compiled(queue.queue_when_joining)
meet_trade = compiled(queue.meet_trade)
level_after_trade = compiled(queue.level_after_trade)
queue_after_book = compiled(queue.queue_after_book)
fresh_offers = compiled(untaped.fresh_offers)
volume_evidence = compiled(untaped.volume_evidence)
split_overlap = compiled(untaped.split_overlap)
offer_evidence = compiled(untaped.offer_evidence)
least_or_most_offered = compiled(untaped.least_or_most_offered)
meet_evidence = compiled(untaped.meet_evidence)
observation_from: Callable[..., int] = compiled_with_calls(first_observation)
was_observed: Callable[..., bool] = compiled_with_calls(is_observed)
gap_from: Callable[..., int] = compiled_with_calls(gaps.gap_on_the_way)
gap_ends: Callable[..., bool] = compiled_with_calls(gaps.gap_ends)
is_whole: Callable[..., bool] = compiled_with_calls(tape.is_whole)
candle_ending: Callable[..., int] = compiled_with_calls(candles.candle_ending)
first_from: Callable[..., int] = compiled_with_calls(arrays.first_from)
