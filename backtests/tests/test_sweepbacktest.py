"""The command `sweepbacktest`."""

import os
import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from backtests.analysis import search
from backtests.analysis.search import parse_values
from backtests.models import BacktestStatus, Search, SearchPoint, Trial
from backtests.search_report import summary
from backtests.strategies import STRATEGIES, find
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.strategies.parameters import BadParameter
from backtests.tests.search_builders import a_search, record_days, run_all

WAITING = ("--across-gaps", "wait")
CHOSEN = ("--series", "SKXRAIN", "--start", "2026-10-01", "--end", "2026-10-15")


class TestValues:
    @pytest.mark.parametrize(
        ("text", "output"),
        [
            ("0.1", ["0.1"]),
            ("0.1, 0.2", ["0.1", "0.2"]),
            ("0.1:0.3:0.1", ["0.1", "0.2", "0.3"]),
            ("5:6:2", ["5"]),
        ],
    )
    def test_values_are_listed_or_ranged_over(self, text, output):
        assert parse_values("edge", text) == output

    @pytest.mark.parametrize(
        "text",
        [
            "1:2",
            "1:2:3:4",
            "1:2:0",
            "2:1:1",
            "1:x:1",
            "0:1:0.00001",
            "0:NaN:1",
            "::",
            "0:9e999999:0.1",
        ],
    )
    def test_a_range_that_makes_no_sense_is_refused(self, text):
        with pytest.raises(BadParameter, match="edge"):
            parse_values("edge", text)

    def test_every_combination_is_tried(self):
        varied = {"edge": [0.01, 0.02], "floor": [0.0, 0.1, 0.2]}
        tried = search.grid(varied)
        assert len(tried) == 6
        assert tried[1] == {"edge": 0.01, "floor": 0.1}
        assert tried[-1] == {"edge": 0.02, "floor": 0.2}

    def test_more_runs_than_anybody_waits_for_are_refused(self):
        many = list(range(1_000))
        with pytest.raises(BadParameter, match="1,000,000 runs"):
            search.grid({"seed": many, "contracts": many})

    def test_values_are_read_by_the_schema_and_tried_once(self):
        schema = find("fade-longshots").schema
        read = search.read_values(schema, {"edge": ["0.1", "0.10", 0.2], "contracts": ["5"]})
        assert read == {"edge": [0.1, 0.2], "contracts": [5]}

    @pytest.mark.parametrize("varied", [{"odd": [1]}, {"edge": [9]}, {"edge": ["x"]}, {"edge": []}])
    def test_values_that_the_schema_does_not_have_are_refused(self, varied):
        with pytest.raises(BadParameter):
            search.read_values(find("fade-longshots").schema, varied)

    @given(st.integers(1, 40), st.integers(0, 9), st.integers(1, 5), st.integers(1, 6))
    def test_a_random_choice_is_a_part_of_the_grid_in_its_order(self, runs, seed, width, height):
        varied: dict[str, list[int]] = {
            "edge": list(range(width)),
            "floor": list(range(height)),
        }
        chosen, every = search.sample(varied, runs, seed=seed), search.grid(varied)
        assert chosen == [point for point in every if point in chosen]
        assert len(chosen) == min(runs, len(every))
        assert chosen == search.sample(varied, runs, seed=seed)

    def test_a_random_choice_can_be_of_a_grid_that_nobody_could_try(self):
        varied = {name: list(range(10_000)) for name in "abcdef"}
        assert len(search.sample(varied, 5, seed=1)) == 5
        assert search.sample(varied, 5, seed=1) != search.sample(varied, 5, seed=2)


@pytest.fixture
def fortnight():
    record_days()


def swept(*words, strategy="fade-longshots"):
    out = StringIO()
    call_command("sweepbacktest", *filter(None, [strategy]), *words, stdout=out)
    return out.getvalue().splitlines()


def resumed(id):
    return swept("--resume", str(id), strategy="")


class Interrupted(FadeLongshots):
    """Somebody presses Ctrl-C while it runs."""

    name = "interrupted"
    is_interrupted = True

    def targets(self, history):
        if self.is_interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        return super().targets(history)


class Touchy(FadeLongshots):
    name = "touchy"

    def targets(self, history):
        if self.p.contracts == 5:
            raise ZeroDivisionError("five")
        return super().targets(history)


@pytest.mark.django_db
class TestTheCommand:
    def test_settings_are_chosen_early_and_shown_late(self, fortnight):
        output = swept(
            "--vary", "contracts=1,5,10", "--confirm-from", "2026-10-07T00:00Z",
            "--across-gaps", "wait", *CHOSEN,
        )  # fmt: skip
        assert output[0] == "3 combinations, searched on 2 markets, confirmed on 2 later ones."
        best, worst = output[3].split(), output[-1].split()
        # NO at 90 cents, twice won; later won once and lost once.
        assert best[-1] == "contracts=10"
        assert worst[-1] == "contracts=1"
        assert Trial.objects.of_family("fade-longshots").count() == 3
        assert best[0] == "$1.87"
        assert best[1] == "-$8.13"

    def test_what_no_market_is_left_for_is_said(self, fortnight):
        with pytest.raises(CommandError, match="confirm-from: No market began after"):
            swept("--vary", "contracts=1", "--confirm-from", "2026-10-14", *CHOSEN)

    @pytest.mark.parametrize(
        ("words", "field"),
        [
            (["--vary", "nonsense=1"], "nonsense"),
            (["--vary", "edge=2"], "edge"),
            (["--vary", "edge"], "vary.edge: Must be written as"),
            (["--vary", "edge=0.1", "--vary", "edge=0.2"], "vary.edge: It is given twice"),
            (["--vary", "edge=0.1", "--param", "contracts"], "param.contracts: Must be written"),
            (["--vary", "edge=0.1", "--best", "-1"], "best: Must be at least 1"),
            ([], "vary: Name at least one parameter"),
            (["--vary", "edge=0.1", "--param", "edge=0.2"], "vary.edge: It has a fixed value"),
            (["--vary", "edge=0.1", "--random", "0"], "random: Must be between 1 and"),
            (
                ["--vary", "edge=0.1", "--random", "1", "--seed", "-1"],
                "seed: Must be between 0",
            ),
            (["--vary", "edge=0.1", "--seed", "3"], "seed: It has an effect with --random"),
            (
                ["--vary", "edge=0.1", "--walk-forward", "21"],
                "walk-forward: Must be between 0 and 20",
            ),
            (
                ["--vary", "edge=0.1", "--walk-forward", "1", "--embargo-hours", "nan"],
                "embargo-hours: Must be between",
            ),
            (
                ["--vary", "edge=0.1", "--embargo-hours", "2"],
                "embargo-hours: It has an effect with --walk-forward alone",
            ),
            (
                ["--vary", "edge=0.1", "--walk-forward", "4"],
                "walk-forward: 4 of the markets have a",
            ),
            (
                ["--vary", "edge=0.1", "--save", "--confirm-from", "2026-10-07"],
                "confirm-from: A stored search",
            ),
            (["--vary", "edge=0.1", "--save", "--queue"], "save: Of --save and --queue"),
            (["--vary", "edge=0.1", "--latency-seconds", "-1"], "latency-seconds: Must be"),
            (
                ["--vary", "edge=0.1", "--walk-forward", "1", "--confirm-from", "2026-10-07"],
                "confirm-from: A walk-forward has boundaries",
            ),
            (["--resume", "7"], "strategy: A search is resumed as it was requested"),
            (["--vary", "edge=0.1", "--cash", "0"], "cash"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, fortnight, words, field):
        with pytest.raises(CommandError, match=field) as fault:
            swept(*words, *CHOSEN)
        assert fault.value.returncode == 2

    def test_a_search_that_is_not_there_is_not_resumed(self):
        with pytest.raises(CommandError, match="resume: There is no search 7") as fault:
            resumed(7)
        assert fault.value.returncode == 2

    def test_a_strategy_with_orders_of_its_own_is_not_swept(self, fortnight):
        with pytest.raises(CommandError, match="strategy: exclusive-arbitrage"):
            call_command("sweepbacktest", "exclusive-arbitrage", "--vary", "edge=0.1", *CHOSEN)

    def test_a_random_choice_of_the_combinations_is_tried(self, fortnight):
        output = swept(
            "--vary", "contracts=1:100:1", "--vary", "edge=0.0,0.01", "--random", "7", "--best",
            "9", *WAITING, *CHOSEN,
        )  # fmt: skip
        assert output[0].startswith("7 combinations")
        assert len(output) == 10

    def test_a_walk_forward_chooses_on_the_past(self, fortnight):
        output = swept("--vary", "contracts=1,10", "--walk-forward", "1", *WAITING, *CHOSEN)
        assert output[0] == "fade-longshots, 2 combinations on 4 markets."
        # NO won on the first two days, so ten contracts were chosen; then it lost, and won.
        [walk] = [line for line in output if line.startswith("Walk-forward")]
        assert walk == (
            "Walk-forward: \u2212$8.13 by choices on the past; \u2212$0.81 on the same markets"
            " by the choice in hindsight."
        )
        assert Search.objects.count() == 0
        assert Trial.objects.of_family("fade-longshots").count() == 2

    def test_a_saved_search_is_run_here_and_printed_as_one_that_is_not(self, fortnight):
        words = ("--vary", "contracts=1,10", "--walk-forward", "1", *WAITING, *CHOSEN)
        output = swept("--save", *words)
        stored = Search.objects.get()
        assert stored.status == BacktestStatus.DONE
        assert output[0] == f"Search {stored.pk}: {swept(*words)[0]}"
        without_trials = [line for line in swept(*words)[1:] if "trials" not in line]
        assert [line for line in output[1:] if "trials" not in line] == without_trials

    def test_a_search_that_was_cancelled_is_resumed(self, fortnight):
        stored = a_search()
        Search.objects.cancel(stored.pk, now=stored.created_at)
        output = resumed(stored.pk)
        assert output[0].startswith(f"Search {stored.pk}: fade-longshots, 3 combinations")
        with pytest.raises(CommandError, match=f"resume: Search {stored.pk} is done"):
            resumed(stored.pk)

    @pytest.mark.usefixtures("_hears_ctrl_c")
    def test_who_presses_ctrl_c_has_cancelled_a_search_that_runs_here(self, fortnight, monkeypatch):
        monkeypatch.setitem(STRATEGIES, "interrupted", Interrupted)
        words = ("--save", "--vary", "contracts=1,10", *WAITING, *CHOSEN)
        with pytest.raises(CommandError, match="is cancelled; --resume") as fault:
            call_command("sweepbacktest", "interrupted", *words)
        assert fault.value.returncode == 130
        stored = Search.objects.get()
        assert (stored.status, stored.progress().running) == (BacktestStatus.CANCELLED, 0)
        monkeypatch.setattr(Interrupted, "is_interrupted", False)
        assert resumed(stored.pk)[0].startswith(f"Search {stored.pk}: interrupted, 2 combinations")

    def test_points_that_decide_at_other_times_are_the_same_here_and_stored(self, fortnight):
        words = (
            "--vary", "contracts=1,5", "--vary", "hours_most=2,48,6,24", "--walk-forward", "1",
            *WAITING, *CHOSEN,
        )  # fmt: skip
        here, stored = swept(*words), swept("--save", *words)
        assert [line for line in here[1:] if "trials" not in line] == [
            line for line in stored[1:] if "trials" not in line
        ]

    def test_a_point_that_raises_leaves_the_others_their_results(self, fortnight, monkeypatch):
        monkeypatch.setitem(STRATEGIES, "touchy", Touchy)
        words = ("--vary", "contracts=1,5", "--walk-forward", "1", *WAITING, *CHOSEN)
        output = swept(*words, strategy="touchy")
        assert output[-1].startswith("could not run: contracts=5: The strategy raised ZeroDivision")
        with pytest.raises(CommandError, match="vary: None of its points could run"):
            swept("--vary", "contracts=5", *words[2:], strategy="touchy")

    def test_a_saved_search_that_fails_says_why(self, fortnight):
        with pytest.raises(CommandError, match="failed: folds: 4 of the markets") as fault:
            swept("--save", "--vary", "edge=0.1", "--walk-forward", "4", *CHOSEN)
        assert fault.value.returncode == 1

    def test_a_point_that_could_not_run_is_named(self, fortnight):
        stored = run_all(a_search())
        SearchPoint.objects.filter(search=stored, number=2).update(pnl=None, error="It is odd.")
        lines = list(summary(stored, list(stored.points.all()), best=10))
        assert lines[-1] == "could not run: contracts=5: It is odd."
