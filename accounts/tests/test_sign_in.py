"""Signing in and out, passwords, and the locks that guard them."""

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
import structlog
import time_machine
from axes.models import AccessAttempt, AccessLog
from django.conf import settings as live_settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client
from django.urls import NoReverseMatch, reverse
from redis import Redis

from accounts.tasks import forget_sign_ins
from accounts.tests.factories import PASSWORD, a_person
from kalshi_insights.embedded.servers import free_port

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]

SIGN_IN = "/accounts/sign-in/"
ADMIN = "/admin/login/"
DOORS = {SIGN_IN: "login", ADMIN: "username"}
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LIMIT, LOCK = live_settings.AXES_FAILURE_LIMIT, live_settings.AXES_COOLOFF_TIME
LOCKED = "Signing in is locked for now"
GUESS = "a guess"
ODD_NAMES = ["", "\0", "a\0b", "x" * 5_000, "ada\n", "\u202eada", "' OR 1"]


def attempt(name="ada", password=GUESS, *, door=SIGN_IN, client=None, **given):
    form = {DOORS[door]: name, "password": password}
    return (client or Client()).post(door, form, **given)


def lock(name="ada", **given):
    for number in range(LIMIT):
        response = attempt(name, f"guess {number}", **given)
    return response


def is_in(response):
    return response.status_code == 302 and "sessionid" in response.cookies


both_doors = pytest.mark.parametrize("door", DOORS)


class TestWhoSignsIn:
    def test_needs_to_be_no_staff_and_is_named_on_every_page(self, client):
        a_person()
        assert "Sign in" in client.get("/markets/").text
        assert attempt("ada", PASSWORD, client=client)["Location"] == "/markets/"
        html = client.get("/markets/").text
        assert "Signed in as ada" in html
        assert "Sign in<" not in html

    def test_comes_back_to_the_page_they_came_from_and_to_no_other_site(self, client):
        a_person()
        for there, back in (
            ("/backtests/new/?cash=5", "/backtests/new/?cash=5"),
            ("https://evil.example/", "/markets/"),
            ("//evil.example", "/markets/"),
        ):
            form = {"login": "ada", "password": PASSWORD, "next": there}
            assert Client().post(SIGN_IN, form)["Location"] == back

    def test_without_being_staff_stays_out_of_the_admin_and_does_not_see_it(self, client):
        a_person()
        attempt("ada", PASSWORD, client=client)
        assert "/admin/" not in client.get("/markets/").text
        assert client.get("/admin/").status_code == 302
        assert "/admin/" in self.page_of(a_person("root", is_staff=True))

    def page_of(self, user):
        client = Client()
        client.force_login(user)
        return client.get("/markets/").text

    def test_signs_out_by_a_form_and_not_by_a_link(self, client):
        client.force_login(a_person())
        assert "You are signed in as ada" in client.get("/accounts/sign-out/").text
        assert "Signed in as ada" in client.get("/markets/").text
        assert client.post("/accounts/sign-out/")["Location"] == "/markets/"
        assert "Signed in as ada" not in client.get("/markets/").text

    @both_doors
    def test_sends_a_token_against_forgery(self, door):
        a_person(is_staff=True)
        client = Client(enforce_csrf_checks=True)
        refused = attempt("ada", PASSWORD, door=door, client=client)
        assert refused.status_code == 403
        assert "This form could not be sent" in refused.text

    def test_is_noted_with_time_and_address(self):
        a_person()
        attempt("ada", PASSWORD, REMOTE_ADDR="192.0.2.7")
        noted = AccessLog.objects.get()
        assert (noted.username, noted.ip_address) == ("ada", "192.0.2.7")

    @pytest.mark.parametrize("name", ["signup", "email", "confirm_login_code", "set_password"])
    def test_is_made_by_nobody_but_the_operator(self, client, name):
        with pytest.raises(NoReverseMatch):
            reverse(f"account_{name}")
        assert client.get("/accounts/signup/").status_code == 404


class TestGuessing:
    @both_doors
    def test_forty_guesses_are_locked_and_logged(self, door, caplog):
        a_person(is_staff=True)
        with caplog.at_level(logging.WARNING), structlog.testing.capture_logs() as logs:
            statuses = [
                attempt("ada", f"guess {n}", door=door, REMOTE_ADDR="192.0.2.7").status_code
                for n in range(40)
            ]
        assert statuses == [200] * (LIMIT - 1) + [429] * (41 - LIMIT)
        lines = [line for line in caplog.messages if line.startswith("AXES")]
        assert len(lines) == LIMIT + 1
        assert all("ada" in line and "192.0.2.7" in line for line in lines)
        assert "Locking out" in lines[-1]
        refused = [line for line in logs if line["event"] == "sign_in_locked"]
        assert len(refused) == 41 - LIMIT
        assert refused[-1]["username"] == "ada"
        assert refused[-1]["address"] == "192.0.2.7"

    @both_doors
    def test_a_right_password_is_refused_while_locked_on_a_page_that_says_why(self, door):
        a_person(is_staff=True)
        lock(door=door)
        response = attempt("ada", PASSWORD, door=door)
        assert (response.status_code, is_in(response)) == (429, False)
        assert LOCKED in response.text
        assert "15 minutes" in response.text
        assert response["Retry-After"] == "900"
        assert "no-store" in response["Cache-Control"]

    def test_another_address_and_another_user_still_get_in(self):
        a_person()
        a_person("bob")
        lock(REMOTE_ADDR="192.0.2.7")
        assert not is_in(attempt("ada", PASSWORD, REMOTE_ADDR="192.0.2.7"))
        assert is_in(attempt("ada", PASSWORD, REMOTE_ADDR="192.0.2.8"))
        assert is_in(attempt("bob", PASSWORD, REMOTE_ADDR="192.0.2.7"))

    def test_both_doors_count_together(self):
        a_person(is_staff=True)
        for number in range(LIMIT):
            attempt(door=list(DOORS)[number % 2])
        for door in DOORS:
            assert LOCKED in attempt("ada", PASSWORD, door=door).text

    def test_another_browser_is_no_other_client(self):
        a_person()
        for number in range(LIMIT):
            attempt(headers={"User-Agent": f"browser {number}"})
        assert LOCKED in attempt("ada", PASSWORD, headers={"User-Agent": "fresh"}).text

    def test_a_forged_header_makes_no_other_client(self):
        a_person()
        for number in range(LIMIT):
            attempt(headers={"X-Forwarded-For": f"198.51.100.{number}"})
        assert LOCKED in attempt("ada", PASSWORD, headers={"X-Forwarded-For": "8.8.8.8"}).text

    def test_behind_a_proxy_its_clients_are_told_apart_by_what_it_wrote(self, settings):
        settings.TRUSTED_PROXIES = 1
        a_person()
        for number in range(LIMIT):
            attempt(headers={"X-Forwarded-For": f"10.0.0.{number}, 203.0.113.1"})
        there = {"X-Forwarded-For": "10.0.0.99, 203.0.113.1"}
        assert LOCKED in attempt("ada", PASSWORD, headers=there).text
        assert is_in(attempt("ada", PASSWORD, headers={"X-Forwarded-For": "203.0.113.2"}))

    def test_the_addresses_of_one_network_are_one_client(self):
        a_person()
        for number in range(LIMIT):
            attempt(REMOTE_ADDR=f"2001:db8:1:2::{number}")
        assert LOCKED in attempt("ada", PASSWORD, REMOTE_ADDR="2001:db8:1:2:ffff::").text
        assert is_in(attempt("ada", PASSWORD, REMOTE_ADDR="2001:db8:1:3::1"))

    def test_a_client_without_an_address_is_locked_like_any_other(self):
        a_person()
        lock(REMOTE_ADDR="")
        assert LOCKED in attempt("ada", PASSWORD, REMOTE_ADDR="").text

    def test_a_lock_ends_and_what_is_tried_meanwhile_does_not_prolong_it(self):
        a_person()
        with time_machine.travel(NOW, tick=False) as clock:
            lock()
            clock.shift(LOCK - timedelta(seconds=1))
            assert LOCKED in attempt("ada", PASSWORD).text
            clock.shift(timedelta(seconds=2))
            assert is_in(attempt("ada", PASSWORD))

    def test_getting_in_forgets_the_failures_before(self):
        a_person()
        for _ in range(3):
            for number in range(LIMIT - 1):
                assert attempt(password=f"guess {number}").status_code == 200
            assert is_in(attempt("ada", PASSWORD))

    def test_the_answer_does_not_tell_who_exists(self):
        a_person()
        known, unknown = (
            re.findall(r"not correct", attempt(name).text) for name in ("ada", "nobody")
        )
        assert known == unknown != []

    def test_nothing_secret_is_kept_of_an_attempt(self):
        client = Client(enforce_csrf_checks=True)
        client.get(SIGN_IN)
        forgery = client.cookies["csrftoken"].value
        form = {"login": "ada", "password": "my secret", "csrfmiddlewaretoken": forgery}
        assert client.post(SIGN_IN, form).status_code == 200
        kept = AccessAttempt.objects.get().post_data
        assert "login=ada" in kept
        assert "my secret" not in kept
        assert forgery not in kept

    @pytest.mark.parametrize(
        "name", ["", "\0", "a\0b", "x" * 5_000, "ada\n", "\u202eada", "' OR 1"]
    )
    @both_doors
    def test_odd_names_are_refused_like_any_wrong_one(self, name, door):
        a_person("bob")
        assert attempt(name, door=door).status_code == 200


class TestTheRateOfAnAddress:
    @pytest.fixture
    def limited(self, settings):
        """Allow bursts of two attempts by each address, with slow refills."""
        settings.SIGN_IN_RATE = 0.2
        server = Redis.from_url(settings.REDIS_URL)
        yield
        for key in server.keys("*sign-in:*"):
            server.delete(key)
        server.close()

    @both_doors
    def test_slows_down_who_tries_many_names(self, limited, door):
        a_person(is_staff=True)
        tries = [attempt(f"name {n}", PASSWORD, door=door) for n in range(3)]
        assert [each.status_code for each in tries] == [200, 200, 429]
        assert "Too many attempts" in tries[-1].text
        assert 0 < int(tries[-1]["Retry-After"]) <= 5
        assert not is_in(attempt("ada", PASSWORD, door=door))
        assert is_in(attempt("ada", PASSWORD, door=door, REMOTE_ADDR="192.0.2.8"))

    def test_does_not_count_looking(self, client, limited):
        assert {client.get(SIGN_IN).status_code for _ in range(9)} == {200}

    @pytest.mark.parametrize("path", ["/accounts/password/", "/accounts/password/reset/"])
    def test_slows_down_changes_and_resets_too(self, client, limited, settings, path):
        settings.EMAIL_URL = "consolemail://"
        client.force_login(a_person())
        assert [client.post(path).status_code for _ in range(3)] == [200, 200, 429]

    def test_without_redis_everybody_passes_and_locks_hold(self, limited, settings):
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        a_person()
        lock()
        assert LOCKED in attempt("ada", PASSWORD).text
        assert is_in(attempt("ada", PASSWORD, REMOTE_ADDR="192.0.2.8"))


class TestChangingAPassword:
    @pytest.fixture
    def signed_in(self, client):
        a_person()
        attempt("ada", PASSWORD, client=client)
        return client

    def change(self, client, new, old=PASSWORD):
        form = {"oldpassword": old, "password1": new, "password2": new}
        return client.post("/accounts/password/", form, follow=True)

    def test_ends_the_other_sessions_and_not_this_one(self, signed_in):
        other = Client()
        attempt("ada", PASSWORD, client=other)
        assert "Your password is changed" in self.change(signed_in, "quite another one").text
        assert "Signed in as ada" in signed_in.get("/markets/").text
        assert "Signed in as ada" not in other.get("/markets/").text
        assert is_in(attempt("ada", "quite another one"))

    @pytest.mark.parametrize(
        ("new", "why"),
        [
            ("short", "too short"),
            ("password1234", "too common"),
            ("83749284750", "entirely numeric"),
            ("ada-lovelace", "too similar"),
        ],
    )
    def test_refuses_a_weak_one(self, client, new, why):
        client.force_login(a_person("ada-lovelace"))
        response = self.change(client, new)
        assert why in response.text
        assert is_in(attempt("ada-lovelace", PASSWORD))

    def test_needs_the_old_one(self, signed_in):
        assert "current password" in self.change(signed_in, "quite another one", old="no").text
        assert is_in(attempt("ada", PASSWORD))

    def test_has_one_page_for_the_admin_too(self, admin_client):
        response = admin_client.get(reverse("admin:password_change"))
        assert response["Location"] == "/accounts/password/"

    def test_needs_somebody_signed_in(self, client):
        response = client.get("/accounts/password/")
        assert response["Location"] == f"{SIGN_IN}?next=/accounts/password/"


class TestResettingAPassword:
    RESET = "/accounts/password/reset/"

    @pytest.fixture
    def mailing(self, settings):
        settings.EMAIL_URL = "consolemail://"

    def link(self, message):
        [page_found] = re.findall(r"http://testserver(/\S+)", message.body)
        return page_found

    def test_is_not_offered_where_no_mail_is_sent(self, client):
        page = client.get(SIGN_IN).text
        assert self.RESET not in page
        assert "manage.py changepassword" in page
        for answer in (client.get(self.RESET), client.post(self.RESET, {"email": "a@b.example"})):
            assert answer.status_code == 404
            assert "sends no mail" in answer.text
        assert mail.outbox == []

    def test_goes_by_a_link_that_is_good_once(self, client, mailing):
        a_person(email="Ada@Example.org")
        assert self.RESET in client.get(SIGN_IN).text
        sent = client.post(self.RESET, {"email": "ada@example.ORG"}, follow=True)
        assert "Look into your mail" in sent.text
        [message] = mail.outbox
        assert (message.subject, message.to) == (
            "A new password for Kalshi Insights",
            ["ada@example.org"],
        )
        assert "the account ada at testserver" in message.body
        form = client.get(self.link(message), follow=True)
        there = form.redirect_chain[-1][0]
        weak = client.post(there, {"password1": "short", "password2": "short"})
        assert "too short" in weak.text
        new = {"password1": "quite another one", "password2": "quite another one"}
        assert "Your password is changed" in client.post(there, new, follow=True).text
        assert is_in(attempt("ada", "quite another one"))
        assert "no longer good" in Client().get(self.link(message), follow=True).text

    def test_tells_nobody_on_the_page_who_has_an_account(self, client, mailing):
        a_person("gone", email="gone@example.org", is_active=False)
        for address in ("nobody@example.org", "gone@example.org"):
            sent = client.post(self.RESET, {"email": address}, follow=True)
            assert "Look into your mail" in sent.text
            message = mail.outbox.pop()
            assert "no account there has the address" in message.body
            assert "http" not in message.body

    def test_a_made_up_link_leads_nowhere(self, client, mailing):
        response = client.get(f"{self.RESET}1-abc123-0123456789abcdef/", follow=True)
        assert "This link is no longer good" in response.text


class TestWhatIsKeptOfIt:
    def test_is_forgotten_after_ninety_days(self):
        a_person()
        for days in (91, 89):
            with time_machine.travel(NOW - timedelta(days=days), tick=False):
                attempt("ada", PASSWORD)
        with time_machine.travel(NOW, tick=False):
            forget_sign_ins()
        assert [NOW - log.attempt_time for log in AccessLog.objects.all()] == [timedelta(days=89)]

    def test_is_no_session_that_has_ended(self):
        a_person()
        for days in (60, 1):
            with time_machine.travel(NOW - timedelta(days=days), tick=False):
                attempt("ada", PASSWORD)
        assert Session.objects.count() == 2
        with time_machine.travel(NOW, tick=False):
            forget_sign_ins()
            assert Session.objects.get().expire_date > NOW

    def test_is_forgotten_by_the_schedule(self):
        tasks = {each["task"] for each in live_settings.CELERY_BEAT_SCHEDULE.values()}
        assert forget_sign_ins.name in tasks
