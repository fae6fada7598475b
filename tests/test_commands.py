"""The helpers of management commands."""

import io

import pytest

from kalshi_insights import commands
from kalshi_insights.commands import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_on(out: io.StringIO) -> str:
    with ProgressBar(out) as bar:
        bar.update(0.25, "reading")
        bar.update(0.5, "reading")
        bar.update(0.0, "running")
        bar.update(1.0, "running")
    return out.getvalue()


def test_a_terminal_shows_a_bar_and_keeps_nothing_of_it():
    shown = shown_on(Terminal())
    assert "25% |" in shown
    assert "reading" in shown
    assert "running" in shown
    assert "\n" not in shown
    assert shown.endswith("\r")
    assert shown.rsplit("\r", 2)[-2].strip() == ""


def test_a_file_gets_a_line_now_and_then(monkeypatch):
    assert shown_on(io.StringIO()) == ""
    monkeypatch.setattr(commands, "LINE_EVERY_SECONDS", 0)
    lines = shown_on(io.StringIO()).splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [
        ("25%", "reading"),
        ("50%", "reading"),
        ("0%", "running"),
        ("100%", "running"),
    ]


def test_a_bar_that_is_left_by_an_error_is_removed():
    terminal = Terminal()

    def fail() -> None:
        with ProgressBar(terminal) as bar:
            bar.update(0.5, "reading")
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        fail()
    assert terminal.getvalue().rsplit("\r", 2)[-2].strip() == ""
