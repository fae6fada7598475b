"""The settings, `.env.example` and the containers agree on environment variables."""

import ast
import re

import yaml

from kalshi_insights.embedded import BASE_DIR
from tests.rooms import PACKAGES

COMPOSE = (BASE_DIR / "docker-compose.yml").read_text()
READERS = {
    "_required",
    "_service",
    "_number",
    "_flag",
    "_choice",
    "_http_url",
    "_rate",
    "_names",
    "_origins",
    "_admin_url",
}


def names_in_settings() -> set[str]:
    """List the first argument of every call that reads the environment."""
    tree = ast.parse((BASE_DIR / "kalshi_insights" / "settings.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    reading = [call for call in calls if is_reader(call.func)]
    names = [call.args[0].value for call in reading if isinstance(call.args[0], ast.Constant)]
    return {str(name) for name in names}


def is_reader(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id == "env"
    return isinstance(function, ast.Name) and function.id in READERS


def test_every_variable_is_documented_and_no_other():
    documented = re.findall(r"^#?([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE)
    for_compose = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    assert len(documented) == len(set(documented))
    assert set(documented) == names_in_settings() | for_compose


def test_the_containers_get_every_variable():
    environment = yaml.safe_load(COMPOSE)["x-app"]["environment"]
    assert set(environment) == names_in_settings()


def test_the_image_has_every_app():
    taken = (BASE_DIR / ".dockerignore").read_text().splitlines()
    assert {f"!{package}" for package in PACKAGES} <= set(taken)


def test_only_the_web_service_is_published():
    services = yaml.safe_load(COMPOSE)["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["web"]


def test_docker_makes_no_folder_of_strategies_as_root():
    volumes = yaml.safe_load(COMPOSE)["x-app"]["volumes"]
    (strategies,) = (each for each in volumes if "STRATEGIES_PATH" in str(each))
    assert strategies["bind"] == {"create_host_path": False}
    assert strategies["read_only"]


def test_the_server_finds_its_configuration_in_the_image():
    """Without it gunicorn would start, but not with the worker that the site is served by."""
    allowed = (BASE_DIR / ".dockerignore").read_text().splitlines()
    assert "!gunicorn.conf.py" in allowed
    assert (BASE_DIR / "gunicorn.conf.py").exists()
