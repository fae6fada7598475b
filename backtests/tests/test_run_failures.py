"""Whatever a run fails by is stored in words."""

import pytest

from backtests import runner, strategies
from backtests.models import LONGEST_ERROR, BacktestStatus
from backtests.tests.record_builders import queue_backtest
from backtests.tests.silent_strategies import Does
from backtests.tests.test_runner import a_market, ran

pytestmark = pytest.mark.django_db


def run_that(work, monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, Does.name, Does)
    monkeypatch.setattr(Does, "work", work)
    return ran(queue_backtest(a_market(), strategy=Does.name))


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LookupError("a\0b"), "The strategy raised LookupError: a\\x00b (silent_strategies.py, "),
        (LookupError("\ud800"), "The strategy raised LookupError: \\ud800 (silent_strategies.py"),
        (LookupError("x" * 100_000), "The strategy raised LookupError: xxx"),
        (Mute(), "The strategy raised Mute: <exception str() failed> (silent_strategies.py, line"),
        (KeyboardInterrupt(), "The strategy raised KeyboardInterrupt (silent_strategies.py, "),
        (SystemExit(3), "The strategy raised SystemExit: 3 (silent_strategies.py, line "),
        (MemoryError(), "The strategy raised MemoryError (silent_strategies.py, line "),
        (RecursionError("deep"), "The strategy raised RecursionError: deep ("),
        (GeneratorExit(), "The strategy raised GeneratorExit ("),
    ],
)
def test_whatever_a_strategy_raises_is_a_failure_in_words(monkeypatch, error, words):
    def fail():
        raise error

    result = run_that(fail, monkeypatch)
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith(words)
    assert ", line " in result.error
    assert len(result.error) <= LONGEST_ERROR
    assert result.finished_at


def test_memory_that_runs_out_elsewhere_is_called_so():
    with pytest.raises(MemoryError) as caught:
        bytearray(2**62)
    words = runner.error_for_user(caught.value, "always-no")
    assert words.startswith("It needed more memory than there is.")


def test_names_with_unwritable_characters_do_not_hide_a_result(monkeypatch):
    result = run_that(lambda: monkeypatch.setattr(Does, "version", "1\0"), monkeypatch)
    assert (result.status, result.strategy_version) == (BacktestStatus.DONE, "1\\x00")


def test_its_words_are_text_on_the_page_and_in_the_api(client, monkeypatch):
    def fail():
        raise LookupError("<b>a\0b</b>")

    result = run_that(fail, monkeypatch)
    html = client.get(f"/backtests/{result.pk}/").content.decode()
    assert "LookupError: &lt;b&gt;a\\x00b&lt;/b&gt; (silent_strategies.py" in html
    told = client.get(f"/api/v1/backtests/{result.pk}/").json()["error"]
    assert "LookupError: <b>a\\x00b</b> (silent_strategies.py" in told
