"""The health checks of the containers, by role."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from kalshi_insights.embedded import BASE_DIR
from kalshi_insights.embedded.servers import free_port
from kalshi_insights.processes.checkhealth import problem_of, problem_of_web
from kalshi_insights.processes.pulse import ATTEMPT, GOOD_RUN, LOOP, RUN, Pulse, forget, signs
from kalshi_insights.processes.supervisor import ROLES


@pytest.fixture
def pulses(tmp_path, monkeypatch):
    monkeypatch.setenv("PULSE_PATH", str(tmp_path))
    return tmp_path


def beat(pulses: Path, role: str, **within: float) -> None:
    for name, seconds in within.items():
        Pulse(pulses / role, name.replace("_", "-")).beat(within=seconds)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_gives_its_signs_is_healthy(pulses, role):
    beat(pulses, role, **{LOOP: 5, "good_run": 5})
    assert problem_of(role) == ""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_whose_loop_stands_still_is_not(pulses, role):
    beat(pulses, role, **{LOOP: -2.5, "good_run": 5})
    assert "overdue: loop by 2.5 s" in problem_of(role)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_does_not_run_is_not(pulses, role):
    assert problem_of(role) == "it is not running"


def test_a_recorder_that_records_nothing_is_not(pulses):
    beat(pulses, "recorder", **{LOOP: 5})
    assert problem_of("recorder") == "it has recorded nothing yet"
    beat(pulses, "recorder", **{GOOD_RUN.replace("-", "_"): -30.0})
    assert "overdue: good-run by 30.0 s" in problem_of("recorder")


@pytest.mark.parametrize("name", [RUN, ATTEMPT])
def test_a_recorder_whose_runs_hang_or_do_not_come_is_not(pulses, name):
    beat(pulses, "recorder", **{LOOP: 5, "good_run": 5, name: -1.0})
    assert f"overdue: {name} by 1.0 s" in problem_of("recorder")


def test_without_a_folder_it_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("PULSE_PATH", raising=False)
    assert problem_of("beat") == "PULSE_PATH is not set"


def test_signs_are_forgotten_and_withdrawn(tmp_path):
    Pulse(tmp_path, RUN).beat(within=1)
    Pulse(tmp_path, LOOP).beat(within=1)
    Pulse(tmp_path, RUN).end()
    assert signs(tmp_path).keys() == {LOOP}
    assert signs(tmp_path)[LOOP].pid == os.getpid()
    forget(tmp_path)
    assert signs(tmp_path) == {}
    Pulse(None, LOOP).beat(within=1)
    Pulse(None, LOOP).end()


def test_a_site_that_answers_is_healthy(live_server, monkeypatch):
    monkeypatch.setenv("PORT", str(urlsplit(live_server.url).port))
    monkeypatch.setenv("ALLOWED_HOSTS", ".localhost,example.org")
    assert problem_of_web() == ""


def test_a_site_that_refuses_or_fails_is_not(live_server, monkeypatch):
    monkeypatch.setenv("PORT", str(urlsplit(live_server.url).port))
    monkeypatch.setenv("ALLOWED_HOSTS", "elsewhere.example")
    assert "400" in problem_of_web()
    monkeypatch.setenv("PORT", str(free_port()))
    assert "refused" in problem_of_web()


def test_the_command_says_so_in_a_line_and_by_its_code(pulses):
    def run(role: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "kalshi_insights.processes.checkhealth", role]
        answer = subprocess.run(
            command, cwd=BASE_DIR, capture_output=True, text=True, check=False, env=os.environ
        )
        return answer.returncode, answer.stdout

    assert run("beat") == (1, "beat: it is not running\n")
    beat(pulses, "beat", **{LOOP: 60})
    assert run("beat") == (0, "beat: healthy\n")


def test_every_role_of_the_containers_runs_under_its_supervisor_and_has_its_check():
    services = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
    for role in ROLES:
        assert services[role]["command"][1:] == ["-m", "kalshi_insights.processes.supervisor", role]
        check = services[role]["healthcheck"]
        assert check["test"][2:] == ["-m", "kalshi_insights.processes.checkhealth", role]
    # The image's own check asks the site.
    assert "healthcheck" not in services["web"]
    dockerfile = (BASE_DIR / "Dockerfile").read_text()
    assert '"kalshi_insights.processes.checkhealth", "web"' in dockerfile
