"""The catalogue: shipped strategies and one's own, with the errors of those that cannot be run."""

import os
import sys
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from django.core.cache import cache

from backtests import catalogue
from backtests.models import BacktestResult
from backtests.own import kept, reading
from backtests.strategies import STRATEGIES, UnknownStrategy
from backtests.tests.factories import a_backtest, a_recorded_day, a_user
from backtests.tests.own_strategies import write, write_signal

pytestmark = pytest.mark.usefixtures("folder")
API = "/api/v1"


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read by another process."""
    names = []
    original = reading.read

    def counted(file):
        names.append(file.name)
        return original(file)

    monkeypatch.setattr(reading, "read", counted)
    return names


def own():
    return {each.name: each for each in catalogue.own()}


# --- what is listed -------------------------------------------------------------------------------


def test_a_new_file_is_found_at_once(folder):
    assert catalogue.own() == []
    write_signal(folder)
    assert [each.name for each in catalogue.listing()] == [*STRATEGIES, "cheap-side"]
    assert catalogue.find("cheap-side").file == "cheap_side.py"
    (folder / "cheap_side.py").unlink()
    with pytest.raises(UnknownStrategy, match="No strategy is called 'cheap-side'"):
        catalogue.find("cheap-side")


def test_a_shipped_one_needs_no_folder(settings, tmp_path):
    settings.STRATEGIES_PATH = tmp_path / "none"
    assert catalogue.find("momentum").origin == "shipped"


def test_a_file_that_does_not_import_is_listed_with_its_error_and_harms_no_other(folder):
    write_signal(folder)
    write_signal(folder, "broken.py", name="dear-side", more="x = 1 / 0\n")
    assert own()["cheap-side"].error == ""
    broken = own()["dear-side"]
    assert (broken.kind, broken.error[:39]) == (None, "broken.py, line 1: ZeroDivisionError: d")
    with pytest.raises(catalogue.UnusableStrategy, match=r"dear-side cannot be run\. broken\.py,"):
        catalogue.find("dear-side")


def test_one_without_a_name_that_can_be_told_goes_by_its_file(folder):
    write(folder, "broken.py", "x = (")
    assert own()["broken"].file == "broken.py"


def test_a_name_that_is_there_twice_is_an_error_of_both_and_of_no_other(folder):
    write_signal(folder, "a.py")
    write_signal(folder, "b.py")
    write_signal(folder, "c.py", name="dear-side")
    found = catalogue.own()
    assert [each.error for each in found] == [
        "a.py: The name cheap-side is there 2 times: a.py, b.py.",
        "b.py: The name cheap-side is there 2 times: a.py, b.py.",
        "",
    ]


def test_a_shipped_strategy_keeps_its_name(folder):
    write_signal(folder, "mine.py", name="momentum")
    assert catalogue.find("momentum").origin == "shipped"
    assert own()["momentum"].error == (
        "mine.py: The name momentum is there 2 times: a shipped strategy, mine.py."
    )


def test_a_broken_file_does_not_take_the_name_of_one_that_works(folder):
    write_signal(folder, "a.py", more="x = (\n")
    write_signal(folder, "b.py")
    assert catalogue.find("cheap-side").file == "b.py"


def test_a_file_that_cannot_be_read_is_told_of(folder):
    write_signal(folder)
    (folder / "gone.py").symlink_to(folder / "nowhere.py")
    assert own()["gone"].error == "gone.py: It cannot be read. No such file or directory."
    assert own()["cheap-side"].error == ""


def test_what_could_be_read_without_an_end_is_told_of(folder):
    os.mkfifo(folder / "endless.py")
    assert own()["endless"].error == "endless.py: It cannot be read. It is no regular file."


def test_a_file_that_is_too_large_is_told_of(folder):
    write(folder, "large.py", "#" * 1_000_001)
    assert "more than 1,000,000 bytes" in own()["large"].error


def test_what_is_no_folder_is_told_of(settings, tmp_path):
    settings.STRATEGIES_PATH = write(tmp_path, "file", "")
    (found,) = catalogue.own()
    assert "cannot be read: Not a directory" in found.error


def test_others_who_may_write_are_warned_of(folder):
    write_signal(folder).chmod(0o666)
    assert "may write to cheap_side.py" in own()["cheap-side"].warning
    assert own()["cheap-side"].error == ""


def test_others_who_may_write_to_what_it_imports_are_warned_of(folder):
    write(folder, "_helpers.py", "").chmod(0o666)
    write_signal(folder, more="import _helpers\n")
    assert "may write to _helpers.py" in own()["cheap-side"].warning


# --- what is kept ---------------------------------------------------------------------------------


def test_a_file_is_read_once_until_it_changes(folder, read):
    write_signal(folder)
    catalogue.own()
    catalogue.own()
    assert read == ["cheap_side.py"]
    write_signal(folder, version="2")
    assert own()["cheap-side"].version == "2"
    assert read == ["cheap_side.py"] * 2


def test_a_file_is_read_again_when_one_that_it_imports_changes(folder, read):
    write(folder, "_helpers.py", "VERSION = '1'\n")
    path = write_signal(folder, more="from _helpers import VERSION\n")
    path.write_text(path.read_text().replace('version = "1"', "version = VERSION"))
    write_signal(folder, "other.py", name="other")
    assert own()["cheap-side"].version == "1"
    write(folder, "_helpers.py", "VERSION = '2'\n")
    assert own()["cheap-side"].version == "2"
    assert sorted(read) == ["cheap_side.py", "cheap_side.py", "other.py"]


@pytest.fixture
def clock(monkeypatch):
    """The clock of what is kept, in minutes."""
    now = SimpleNamespace(minutes=0)
    monkeypatch.setattr(kept, "time", SimpleNamespace(time=lambda: 60.0 * now.minutes))
    return now


@pytest.mark.parametrize(
    ("text", "tried"), [("import os\nos._exit(3)\n", [0, 1, 3]), ("x = 1 / 0\n", [0, 1, 2, 3])]
)
def test_a_file_that_gives_no_answer_is_tried_after_ever_longer_pauses(
    folder, read, clock, text, tried
):
    write(folder, "broken.py", text)
    found = []
    for minute in range(4):
        clock.minutes = minute
        read.clear()
        assert own()["broken"].error
        found += [minute] * len(read)
    assert found == tried


def test_a_file_that_gives_no_answer_is_tried_at_once_when_one_of_the_folder_has_changed(
    folder, read, clock
):
    write(folder, "_helpers.py", "import os\nos._exit(3)\n")
    write_signal(folder, more="import _helpers\n")
    assert "ended with code 3" in own()["cheap-side"].error
    write(folder, "_helpers.py", "")
    assert own()["cheap-side"].error == ""
    assert len(read) == 2


def test_a_helper_that_was_missing_mends_a_file_at_once(folder, read):
    write_signal(folder, more="import _helpers\n")
    assert "No module named '_helpers'" in own()["cheap-side"].error
    own()
    assert len(read) == 1
    write(folder, "_helpers.py", "")
    assert own()["cheap-side"].error == ""


@pytest.fixture
def without_cache(settings, monkeypatch):
    monkeypatch.setattr(kept, "_remembered", {})
    cache._cache.get_client().connection_pool.disconnect()  # type: ignore[attr-defined]
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:9/0",
        }
    }


def test_without_the_cache_a_process_reads_a_file_once_until_it_changes(
    folder, without_cache, read
):
    path = write_signal(folder)
    assert own()["cheap-side"].error == ""
    assert own()["cheap-side"].error == ""
    assert len(read) == 1
    path.write_text(path.read_text() + "x = 1 / 0\n")
    assert "ZeroDivisionError" in own()["cheap-side"].error
    assert len(read) == 2


def test_without_the_cache_a_process_remembers_so_many_reports(
    folder, without_cache, read, monkeypatch
):
    monkeypatch.setattr(kept, "MOST_REMEMBERED", 1)
    write_signal(folder)
    write_signal(folder, "other.py", name="other-side")
    assert {"cheap-side", "other-side"} == set(own()) == set(own())
    assert len(kept._remembered) == 1
    assert len(read) == 3


# --- pages and API --------------------------------------------------------------------------------


@pytest.fixture
def broken(folder):
    write_signal(folder)
    write_signal(folder, "broken.py", name="dear-side", more="x = 1 / 0\n")


def test_the_api_lists_ones_own_with_origin_and_error(client, broken, db):
    rows = client.get(f"{API}/strategies/").json()["results"]
    (cheap, dear) = sorted((row for row in rows if row["origin"] == "own"), key=lambda r: r["name"])
    assert (cheap["file"], cheap["error"], cheap["kind"]) == ("cheap_side.py", "", "signal")
    assert cheap["parameters"][0]["name"] == "contracts"
    assert (dear["kind"], dear["parameters"]) == (None, [])
    assert dear["error"].startswith("broken.py, line 1: ZeroDivisionError")
    assert client.get(f"{API}/strategies/dear-side/").json() == dear
    assert "cheap_side" not in sys.modules


def test_a_name_is_no_path(client, broken, db):
    for name in ("../cheap_side", "..%2Fcheap_side", "cheap_side.py", "/etc/passwd"):
        assert client.get(f"{API}/strategies/{quote(name)}/").status_code == 404
        with pytest.raises(UnknownStrategy):
            catalogue.find(name)


def test_the_form_has_ones_own_with_their_parameters_and_errors(client, broken, db):
    html = client.get("/backtests/new/?strategy=cheap-side").content.decode()
    assert "cheap-side (cheap_side.py)" in html
    assert "dear-side (cannot be run)" in html
    assert "Buys NO everywhere. Version 1." in " ".join(html.split())
    assert 'name="params.contracts"' in html
    html = client.get("/backtests/new/?strategy=dear-side").content.decode()
    assert "broken.py, line 1: ZeroDivisionError" in html


REQUEST = {"tickers": "KXRAIN-26NOV21", "start": "2025-11-20T12:00", "end": "2025-11-20T18:00"}


def test_a_run_of_a_broken_one_fails_at_once_with_its_error(client, broken, db):
    a_recorded_day()
    client.force_login(a_user())
    form = {**REQUEST, "strategy": "dear-side", "cash": "100", "latency_seconds": "1"}
    response = client.post("/backtests/new/", form)
    assert response.status_code == 400
    assert "dear-side cannot be run. broken.py, line 1" in response.content.decode()
    wish = {
        "strategy": "dear-side",
        "tickers": ["KXRAIN-26NOV21"],
        "start": "2025-11-20T12:00:00Z",
        "end": "2025-11-20T18:00:00Z",
    }
    response = client.post(f"{API}/backtests/", wish, content_type="application/json")
    assert response.status_code == 400
    (words,) = response.json()["details"]["strategy"]
    assert words.startswith("dear-side cannot be run. broken.py, line 1")
    assert not BacktestResult.objects.exists()


def test_the_list_of_runs_takes_the_name_of_any_strategy(client, broken, db):
    a_backtest(strategy="gone-side")
    for name, status in (("cheap-side", 200), ("gone-side", 200), ("momentum", 200), ("no", 400)):
        assert client.get(f"{API}/backtests/?strategy={name}").status_code == status
