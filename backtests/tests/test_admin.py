"""Backtests in the admin, where they are searched, shown and cancelled, and never edited."""

import pytest
from django.urls import reverse

from backtests.models import Trial, TrialRow
from backtests.tests.factories import a_backtest, a_fill, a_user

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]

RUNS = reverse("admin:backtests_backtestresult_changelist")
TRIALS = reverse("admin:backtests_trial_changelist")
LINES = reverse("admin:backtests_backtestexecution_changelist")


def listed_rows(client, address: str, words: str = "") -> str:
    response = client.get(address, {"q": words})
    assert response.status_code == 200
    html: str = response.content.decode()
    return html


def test_runs_are_found_by_strategy_market_user_and_reason(admin_client):
    a_backtest(user=a_user())
    a_backtest("failed", strategy="momentum", series=["KXFED"])
    for words in ("fade", "skxr", "ada"):
        assert "+$14.31" in listed_rows(admin_client, RUNS, words)
        assert "KXFED" not in listed_rows(admin_client, RUNS, words)
    assert "momentum" in listed_rows(admin_client, RUNS, "raised")


def test_executions_are_found_by_run_and_market(admin_client):
    line = a_fill(a_backtest())
    for words in (str(line.result_id), "kxhighny"):
        assert "9991.03" in listed_rows(admin_client, LINES, words)
    assert "9991.03" not in listed_rows(admin_client, LINES, "KXNONE")


def test_nothing_is_added_edited_or_deleted(admin_client):
    line = a_fill(a_backtest())
    for name, key in (("backtestresult", line.result_id), ("backtestexecution", line.pk)):
        assert admin_client.get(reverse(f"admin:backtests_{name}_add")).status_code == 403
        change = reverse(f"admin:backtests_{name}_change", args=[key])
        assert admin_client.get(change).status_code == 200
        assert admin_client.post(change, {}).status_code == 403
        delete = reverse(f"admin:backtests_{name}_delete", args=[key])
        assert admin_client.post(delete, {"post": "yes"}).status_code == 403


def test_those_that_have_not_ended_are_cancelled(admin_client):
    queued, done = a_backtest("queued"), a_backtest()
    form = {"action": "cancel", "_selected_action": [queued.pk, done.pk]}
    response = admin_client.post(RUNS, form, follow=True)
    assert "1 cancelled; the others were finished already." in response.content.decode()
    queued.refresh_from_db()
    done.refresh_from_db()
    assert (queued.status, done.status) == ("cancelled", "done")


def test_trials_are_found_by_strategy(admin_client):
    Trial.objects.record_all([TrialRow("momentum", {"contracts": 7}, "", "", 61, 0.1, 0.0, 3.0)])
    assert "&quot;contracts&quot;: 7" in listed_rows(admin_client, TRIALS, "momentum")
    assert "&quot;contracts&quot;: 7" not in listed_rows(admin_client, TRIALS, "fade")
