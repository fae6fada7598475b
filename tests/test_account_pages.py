"""Signing in, the account's menu and tokens in a real browser."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import ApiToken
from accounts.tests.factories import PASSWORD, a_person, a_token
from backtests.tests.factories import a_user
from markets.tests.factories import a_market
from tests.browser_checks import (
    MARKS,
    Theme,
    assert_accessible,
    in_each_theme_and_width,
    serious_violations,
    set_theme_and_width,
)

pytestmark = MARKS


def sign_in(page: Page, site: str) -> None:
    page.goto(f"{site}/accounts/sign-in/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/markets/")


def test_a_person_signs_in_makes_a_token_revokes_it_and_signs_out(clean: Page, site: str) -> None:
    a_person()
    sign_in(clean, site)
    menu = clean.locator("#account")
    menu.locator("summary").click()
    menu.get_by_role("link", name="API tokens").click()
    clean.get_by_label("Name").fill("study")
    clean.get_by_role("button", name="Make a token").click()
    expect(clean.locator("[data-secret]")).to_contain_text("kit_")
    secret = clean.locator("[data-secret]").inner_text()
    assert ApiToken.objects.find(secret)
    clean.get_by_role("button", name="Revoke study").click()
    expect(clean.get_by_text("The token study is revoked.")).to_be_visible()
    assert ApiToken.objects.find(secret) is None
    menu.locator("summary").click()
    clean.get_by_role("button", name="Sign out").click()
    expect(clean.get_by_role("link", name="Sign in")).to_be_visible()


def test_the_menu_closes_by_escape_and_by_a_click_elsewhere(clean: Page, site: str) -> None:
    a_person()
    sign_in(clean, site)
    menu, summary = clean.locator("#account"), clean.locator("#account summary")
    for close in (
        lambda: clean.keyboard.press("Escape"),
        lambda: clean.locator("main").click(position={"x": 5, "y": 5}),
    ):
        summary.click()
        expect(menu.get_by_text("Change password")).to_be_visible()
        close()
        expect(menu.get_by_text("Change password")).to_be_hidden()


def test_all_of_it_works_without_scripts(browser: Browser, site: str) -> None:
    a_person()
    page = browser.new_page(java_script_enabled=False)
    sign_in(page, site)
    page.locator("#account summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    page.close()


@pytest.mark.parametrize("password", ["wrong", ""])
def test_what_is_wrong_is_said_at_the_form(page: Page, site: str, password: str) -> None:
    a_person()
    page.goto(f"{site}/accounts/sign-in/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(password or " ")
    page.locator("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not correct")


@in_each_theme_and_width
def test_every_page_of_a_forgotten_password_is_accessible(
    page: Page, site: str, settings: Any, theme: Theme, width: int
) -> None:
    settings.EMAIL_URL = "consolemail://"
    set_theme_and_width(page, theme, width)
    for path in ("", "sent/", "done/", "1-abc123-0123456789abcdef/"):
        assert_accessible(page, f"{site}/accounts/password/reset/{path}", width=width)
    settings.AXES_FAILURE_LIMIT = 1
    page.goto(f"{site}/accounts/sign-in/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("a guess")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Signing in is locked for now")).to_be_visible()
    assert serious_violations(page) == []


@in_each_theme_and_width
def test_every_page_of_an_account_is_accessible(
    clean: Page, site: str, theme: Theme, width: int
) -> None:
    user = a_user(is_staff=True)
    user.set_password(PASSWORD)
    user.save()
    a_token(user, "operate", name="a study with a long name that goes on and on")
    a_market()
    set_theme_and_width(clean, theme, width)
    assert_accessible(clean, f"{site}/accounts/sign-in/", width=width)
    sign_in(clean, site)
    for path in ("/accounts/tokens/", "/accounts/password/", "/accounts/sign-out/"):
        assert_accessible(clean, site + path, width=width)
    clean.locator("#account summary").click()
    assert serious_violations(clean) == []
    assert clean.evaluate("document.documentElement.scrollWidth") <= width
