"""Tokens: what they may do, how they end, and where they are made and seen."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import MAX_TOKENS, ApiToken
from accounts.tests.factories import a_person, a_token
from backtests.models import RUN_BACKTESTS, BacktestResult
from backtests.tests.factories import a_recorded_day, a_user

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]

API = "/api/v1"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WISH = {
    "strategy": "do-nothing",
    "tickers": ["KXRAIN-26NOV21"],
    "start": "2025-11-20T12:00:00Z",
    "end": "2025-11-20T18:00:00Z",
}


def bearer(secret):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    return client


def wish(client):
    return client.post(f"{API}/backtests/", WISH, format="json")


@pytest.fixture
def operator():
    return a_user("root", is_staff=True)


class TestScopes:
    @pytest.mark.parametrize(
        ("scope", "status"), [("read", 403), ("backtest", 202), ("operate", 202)]
    )
    def test_a_backtest_needs_its_own(self, operator, scope, status):
        a_recorded_day()
        client = bearer(a_token(operator, scope))
        assert client.get(f"{API}/backtests/").status_code == 200
        response = wish(client)
        assert response.status_code == status, response.content
        assert BacktestResult.objects.count() == (status == 202)

    def test_a_refusal_names_the_scope_that_is_needed(self, operator):
        refused = wish(bearer(a_token(operator))).json()
        assert refused["code"] == "permission_denied"
        assert refused["message"] == ("This token has the scope read; this request needs backtest.")

    def test_a_right_that_was_taken_away_is_missed_by_the_token_too(self):
        user = a_user()
        client = bearer(a_token(user, "backtest"))
        user.user_permissions.clear()
        refused = wish(client)
        assert refused.status_code == 403
        assert "does not have the right" in refused.json()["message"]

    def test_a_token_is_not_granted_what_its_user_may_not(self):
        assert call_scopes(a_user("ada")) == ["read", "backtest"]
        assert call_scopes(a_user("bob", may_run=False)) == ["read"]
        assert call_scopes(a_user("eve", is_staff=True)) == ["read", "backtest", "operate"]
        with pytest.raises(CommandError, match=r"--scope: bob does not have the rights"):
            call_command("createapitoken", "bob", "--scope", "backtest")

    def test_the_permission_that_backtests_need_exists_under_its_name(self):
        app, codename = RUN_BACKTESTS.split(".")
        listed_token = Permission.objects.get(content_type__app_label=app, codename=codename)
        assert listed_token.name == "Can run backtests"


def call_scopes(user):
    return bearer(a_token(user)).get(f"{API}/account/").json()["scopes"]


class TestAuthentication:
    def test_only_a_hash_is_stored(self):
        secret = a_token(a_user())
        assert secret.startswith("kit_")
        with connection.cursor() as cursor:
            cursor.execute("SELECT t::text FROM accounts_apitoken t")
            [(row,)] = cursor.fetchall()
        assert secret not in row
        assert secret[20:] not in row

    def test_an_expired_token_says_so(self):
        with time_machine.travel(NOW, tick=False) as clock:
            client = bearer(a_token(a_user(), expiry=NOW + timedelta(days=1)))
            assert client.get(f"{API}/account/").status_code == 200
            clock.shift(timedelta(days=1))
            refused = client.get(f"{API}/markets/")
        assert (refused.status_code, refused.json()["code"]) == (401, "authentication_failed")
        assert refused.json()["message"] == "This token expired on 2026-12-01."
        assert ApiToken.objects.count() == 1

    def test_a_revoked_one_and_one_of_somebody_inactive_are_wrong(self):
        user = a_user()
        client = bearer(a_token(user))
        user.is_active = False
        user.save()
        assert client.get(f"{API}/markets/").status_code == 401
        user.is_active = True
        user.save()
        assert client.get(f"{API}/markets/").status_code == 200
        ApiToken.objects.all().delete()
        assert client.get(f"{API}/markets/").status_code == 401

    @pytest.mark.parametrize(
        "header",
        [
            "Token",
            "Token a b",
            "Token \u00ff\u00fe",
            "Token " + "x" * 5_000,
            "Token " + "0" * 40,
        ],
    )
    def test_whatever_is_no_token_is_refused(self, header):
        a_token(a_user())
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=header)
        refused = client.get(f"{API}/markets/")
        assert (refused.status_code, refused.json()["code"]) == (401, "authentication_failed")

    def test_the_last_use_is_noted_to_the_minute(self, django_assert_num_queries):
        with time_machine.travel(NOW, tick=False) as clock:
            client = bearer(a_token(a_user()))
            assert ApiToken.objects.get().last_used_at is None
            client.get(f"{API}/")
            assert ApiToken.objects.get().last_used_at == NOW
            clock.shift(timedelta(seconds=59))
            with django_assert_num_queries(1):
                client.get(f"{API}/")
            assert ApiToken.objects.get().last_used_at == NOW
            clock.shift(timedelta(seconds=1))
            client.get(f"{API}/")
            assert ApiToken.objects.get().last_used_at == NOW + timedelta(minutes=1)

    def test_an_account_tells_who_asks(self):
        assert APIClient().get(f"{API}/account/").status_code == 401
        reply = bearer(a_token(a_user(), "backtest", name="study")).get(f"{API}/account/").json()
        assert reply["username"] == "ada"
        assert reply["token"]["name"] == "study"
        assert (reply["token"]["scope"], reply["token"]["expires_at"]) == ("backtest", None)
        client = Client()
        client.force_login(a_user("bob"))
        reply = client.get(f"{API}/account/").json()
        assert (reply["username"], reply["token"]) == ("bob", None)


class TestCommand:
    def call(self, *arguments):
        return call_command("createapitoken", *arguments, stdout=StringIO())

    def test_a_token_is_printed_once_and_reads_for_ninety_days(self):
        a_user()
        secret = call_command("createapitoken", "ada", stdout=(said := StringIO()))
        assert said.getvalue() == f"{secret}\n"
        token = ApiToken.objects.get()
        assert (token.name, token.scope) == ("script", "read")
        assert token.expiry is not None
        assert (token.expiry - token.created).days in (89, 90)
        assert bearer(secret).get(f"{API}/account/").json()["username"] == "ada"

    def test_scope_and_expiry_are_chosen(self):
        a_user()
        self.call("ada", "--scope", "backtest", "--expires", "2199-01-31", "--name", "study")
        self.call("ada", "--expires", "never")
        study, script = ApiToken.objects.order_by("-scope", "name").reverse()
        assert (study.scope, study.expiry) == ("backtest", datetime(2199, 1, 31, tzinfo=UTC))
        assert (script.scope, script.expiry) == ("read", None)

    def test_a_name_is_used_once_and_replaced_on_request(self):
        a_user()
        first, other = self.call("ada"), self.call("ada", "--name", "other")
        with pytest.raises(CommandError, match=r"--name: There is a token script.*--rotate"):
            self.call("ada")
        second = self.call("ada", "--rotate")
        assert bearer(first).get(f"{API}/account/").status_code == 401
        for secret in (second, other):
            assert bearer(secret).get(f"{API}/account/").status_code == 200

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nobody"], "no user nobody"),
            (["ada", "--expires", "2020-01-01"], "--expires: Lies in the past"),
            (["ada", "--expires", "soon"], "--expires: 'soon' is neither"),
            (["ada", "--expires", "2199-01-01T00:00"], "--expires: .* no time zone"),
            (["ada", "--scope", "everything"], "invalid choice: 'everything'"),
            (["ada", "--scope", "operate"], "--scope: ada does not have the rights"),
            (["ada", "--name", ""], "--name: Must have 1 to 60"),
            (["ada", "--name", "x" * 61], "--name: Must have 1 to 60"),
            (["ada", "--name", "a\0", "--rotate"], "--name: Must have 1 to 60"),
        ],
    )
    def test_what_makes_no_sense_is_refused_by_name(self, arguments, message):
        a_user()
        with pytest.raises(CommandError, match=message):
            self.call(*arguments)
        assert ApiToken.objects.count() == 0


class TestPage:
    TOKENS = "/accounts/tokens/"

    @pytest.fixture
    def ada(self, client):
        user = a_user()
        client.force_login(user)
        return user

    def make(self, client, **changes):
        form = {"name": "study", "scope": "read", "expires": "90"} | changes
        return client.post(self.TOKENS, form)

    def test_is_for_people_who_are_signed_in(self, client):
        for ask in (client.get, client.post):
            assert ask(self.TOKENS)["Location"] == f"/accounts/sign-in/?next={self.TOKENS}"

    def test_a_new_token_is_shown_once(self, client, ada):
        assert "You have no tokens" in client.get(self.TOKENS).text
        response = self.make(client, scope="backtest")
        secret = response.context["secret"]
        assert f"<code data-secret>{secret}</code>" in response.text
        assert "no-store" in response["Cache-Control"]
        assert bearer(secret).get(f"{API}/account/").json()["token"]["scope"] == "backtest"
        again = client.get(self.TOKENS).text
        assert secret not in again
        assert secret[:9] in again
        assert "study" in again

    def test_it_tells_expiry_and_last_use(self, client, ada):
        a_token(ada, name="eternal")
        secret = a_token(ada, name="old", expiry=datetime.now(UTC) + timedelta(hours=1))
        bearer(secret).get(f"{API}/")
        ApiToken.objects.filter(name="old").update(expiry=NOW - timedelta(days=900))
        html = client.get(self.TOKENS).text
        assert html.count("never") >= 2
        assert "expired" in html
        assert " ago</span>" in html

    def test_ones_own_are_revoked_and_those_of_others_are_not_seen(self, client, ada):
        mine, theirs = a_token(ada, name="mine"), a_token(a_user("bob"), name="theirs")
        assert "theirs" not in client.get(self.TOKENS).text
        ids = dict(ApiToken.objects.values_list("name", "pk"))
        assert client.post(f"{self.TOKENS}{ids['theirs']}/revoke/").status_code == 404
        assert client.get(f"{self.TOKENS}{ids['mine']}/revoke/").status_code == 405
        done = client.post(f"{self.TOKENS}{ids['mine']}/revoke/", follow=True)
        assert "The token mine is revoked." in done.text
        assert bearer(mine).get(f"{API}/account/").status_code == 401
        assert bearer(theirs).get(f"{API}/account/").status_code == 200

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": ""}, "This field is required."),
            ({"name": "x" * 61}, "at most 60 characters"),
            ({"name": "a\u202eb"}, "Must have 1 to 60 printable characters."),
            ({"name": "taken"}, "There is a token taken already."),
            ({"scope": "operate"}, "Select a valid choice"),
            ({"scope": ""}, "This field is required."),
            ({"expires": "9999999"}, "Select a valid choice"),
        ],
    )
    def test_errors_stand_at_their_fields(self, client, ada, changes, message):
        a_token(ada, name="taken")
        response = self.make(client, **changes)
        assert response.status_code == 400
        [errors] = response.context["form"].errors.values()
        assert message in str(errors)
        assert ApiToken.objects.count() == 1

    def test_there_is_an_end_to_them(self, client, ada):
        rows = [
            ApiToken(user=ada, name=f"n{n}", digest=f"d{n}", token_key=f"k{n}")
            for n in range(MAX_TOKENS)
        ]
        ApiToken.objects.bulk_create(rows)
        response = self.make(client)
        assert response.status_code == 400
        assert f"There are {MAX_TOKENS} tokens already" in response.text

    def test_many_take_as_many_queries_as_one(self, client, ada, django_assert_max_num_queries):
        for number in range(9):
            a_token(ada, name=f"token {number}")
        with django_assert_max_num_queries(5):
            client.get(self.TOKENS)


class TestAdmin:
    def test_tokens_are_seen_and_revoked_and_never_made_or_changed(self, admin_client):
        secret = a_token(a_person(), name="study")
        token = ApiToken.objects.get()
        there = "/admin/accounts/apitoken/"
        assert "study" in admin_client.get(there, {"q": "ada"}).text
        page = admin_client.get(f"{there}{token.pk}/change/").text
        assert token.digest not in page
        assert secret not in page
        assert admin_client.get(f"{there}add/").status_code == 403
        assert admin_client.post(f"{there}{token.pk}/change/", {}).status_code == 403
        admin_client.post(f"{there}{token.pk}/delete/", {"post": "yes"})
        assert ApiToken.objects.count() == 0


def test_the_demo_s_user_is_made_for_development_alone(settings):
    settings.ENVIRONMENT = "production"
    with pytest.raises(CommandError, match="for development"):
        call_command("preparedemo")
