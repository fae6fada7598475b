"""Signals interrupt a run while it computes, and wait while it is stored."""

import os
import signal
from contextlib import suppress
from types import FunctionType

import pytest

from backtests.signs_of_life import EndedBy, RunSignals


def test_a_signal_waits_until_the_run_is_stored():
    stored = []

    def store():
        with RunSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            stored.append(signals.ended_by)

    with pytest.raises(SystemExit):
        store()
    assert stored == [EndedBy.TERMINATION]


def test_one_that_comes_before_the_run_computes_ends_it_at_once():
    def compute():
        with RunSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            with suppress(KeyboardInterrupt), signals.interrupting():
                pytest.fail("it computed")

    with pytest.raises(SystemExit):
        compute()


def test_code_that_is_being_compiled_is_not_interrupted():
    """The compiler would crash, as a process that ends without a word."""

    def compile_code(signals):
        signals.interrupt()

    in_numba = FunctionType(compile_code.__code__, {"__name__": "numba.core.compiler"})
    with RunSignals() as signals, signals.interrupting():
        in_numba(signals)
        with pytest.raises(KeyboardInterrupt):
            compile_code(signals)


def test_a_clock_of_the_strategy_s_own_interrupts_nothing():
    with RunSignals() as signals, signals.interrupting():
        signal.raise_signal(signal.SIGALRM)
    assert signals.ended_by is None


def test_a_strategy_that_has_the_signal_for_itself_is_not_sent_another():
    heard = []
    with RunSignals() as signals, signals.interrupting():
        signal.signal(signal.SIGALRM, lambda *_: heard.append("a clock of its own"))
        signals.interrupt()
    assert heard == []
