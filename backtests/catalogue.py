"""The catalogue of strategies: the shipped ones, and one's own in the folder `STRATEGIES_PATH`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from importlib.util import decode_source
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings

from backtests.own import folder, imports
from backtests.own.describe import FileReport
from backtests.own.folder import StrategyFile
from backtests.own.kept import reports
from backtests.strategies import STRATEGIES, StrategyClass, UnknownStrategy
from backtests.strategies.descriptions import StrategyDescription, StrategyOrigin, describe

# What this process runs without its being in the folder.
_installed: dict[str, StrategyClass] = {}


class UnusableStrategy(UnknownStrategy):
    """A strategy of one's own that cannot be run, for a reason in words."""


def listing() -> list[StrategyDescription]:
    """All strategies: the shipped ones, then one's own, those with errors included."""
    return [*map(describe, STRATEGIES.values()), *own()]


def listed(name: str) -> StrategyDescription | None:
    """The strategy of this name, if there is one; one with an error only if no other has it."""
    if name in STRATEGIES:
        return describe(STRATEGIES[name])
    if name in _installed:
        return describe(_installed[name], origin=StrategyOrigin.OWN)
    named = [each for each in own() if each.name == name]
    return min(named, key=lambda each: bool(each.error), default=None)


def find(name: str) -> StrategyDescription:
    """Find a strategy by name. Raises UnknownStrategy, and UnusableStrategy with its error."""
    found = listed(name)
    if found is None:
        usable = [*STRATEGIES, *(each.name for each in own() if not each.error)]
        raise UnknownStrategy(
            f"No strategy is called {name!r}. The strategies are: {', '.join(usable)}."
        )
    if found.error:
        raise UnusableStrategy(f"{name} cannot be run. {found.error}")
    return found


def load(name: str) -> StrategyClass:
    """Load a strategy to run it; one of one's own is imported into this process.

    Raises UnknownStrategy and UnusableStrategy.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name in _installed:
        return _installed[name]
    return _import(StrategyFile(find(name).file, settings.STRATEGIES_PATH), name)


@contextmanager
def installed(file: StrategyFile, name: str = "") -> Iterator[StrategyClass]:
    """Import a file and have its strategy in the catalogue of this process while a block runs.

    It takes the place of one of one's own with the same name. Without a `name`, the file must have
    one strategy only. Raises UnusableStrategy.
    """
    strategy = _import(file, name)
    if strategy.name in STRATEGIES:
        raise UnusableStrategy(f"{file.name}: A shipped strategy is called {strategy.name}, too.")
    _installed[strategy.name] = strategy
    try:
        yield strategy
    finally:
        del _installed[strategy.name]


def sources(name: str) -> tuple[str, dict[str, str]]:
    """The file of a strategy of one's own, and the text of each file that it is imported with, by
    name; nothing for a shipped one.

    Raises UnknownStrategy and UnusableStrategy.
    """
    if name in STRATEGIES:
        return "", {}
    if name in _installed:
        return imports.file_of(_installed[name]), imports.texts_of(_installed[name])
    file = StrategyFile(find(name).file, settings.STRATEGIES_PATH)
    [report] = reports([file])
    try:
        contents = {each: folder.content_of(file.folder / each) for each in report.files}
    except OSError as fault:
        raise UnusableStrategy(f"{file.name} cannot be read: {fault.strerror}.") from None
    hashes = {each: sha256(content).hexdigest() for each, content in contents.items()}
    changed = [each for each, was in report.files.items() if hashes[each] != was]
    if changed:
        raise UnusableStrategy(f"{changed[0]} was changed this moment. Try again.")
    return file.name, {each: decode_source(content) for each, content in contents.items()}


@contextmanager
def written(files: Mapping[str, str]) -> Iterator[Path]:
    """Write the text of files into a folder that is there while a block runs."""
    with TemporaryDirectory(prefix="kalshi-strategy-") as place:
        for name, text in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield Path(place)


def load_from(place: Path, file: str, name: str) -> StrategyClass:
    """Load a strategy from a file in a folder; it is imported into this process.

    Raises UnusableStrategy.
    """
    return _import(StrategyFile(file, place), name)


def _import(file: StrategyFile, name: str) -> StrategyClass:
    """Import a file here, and return its strategy of this name; without a name, its only one."""
    try:
        strategies = imports.load(file)
    except imports.BadFile as fault:
        raise UnusableStrategy(str(fault)) from None
    named = [each for each in strategies if name in ("", each.name)]
    if len(named) == 1:
        return named[0]
    there = ", ".join(each.name for each in strategies)
    if name and not named:
        raise UnusableStrategy(f"{file.name} has no strategy {name!r}, but {there}.")
    raise UnusableStrategy(f"{file.name} has several strategies; name one of them: {there}.")


def is_of_strategy(name: str, filename: str) -> bool:
    """Return whether a file is that of a shipped strategy, or any of those of one's own."""
    if name in STRATEGIES:
        module = sys.modules.get(STRATEGIES[name].__module__)
        return filename == getattr(module, "__file__", None)
    return imports.is_own(filename)


# --- one's own ------------------------------------------------------------------------------------


def own() -> list[StrategyDescription]:
    """One's own strategies by the names of their files, with the error of each that has one."""
    try:
        files = folder.strategy_files(settings.STRATEGIES_PATH)
    except folder.BadFolder as fault:
        return [StrategyDescription(name=settings.STRATEGIES_PATH.name, error=str(fault))]
    found = [
        each
        for file, report in zip(files, reports(files), strict=True)
        for each in _described(file, report)
    ]
    return [_once(each, found) for each in found]


def _described(file: StrategyFile, report: FileReport) -> Iterator[StrategyDescription]:
    warning = folder.warning_of(file, report.files)
    for each in report.strategies:
        yield replace(each, warning=warning)
    if report.error:
        for name in folder.stated_names(file) or [file.module]:
            yield StrategyDescription(
                name=name, file=file.name, error=report.error, warning=warning
            )


def _once(one: StrategyDescription, found: Sequence[StrategyDescription]) -> StrategyDescription:
    """The description, with an error where another strategy has its name."""
    places = ["a shipped strategy"] if one.name in STRATEGIES else []
    places += [each.file for each in found if each.name == one.name and not each.error]
    if one.error or len(places) == 1:
        return one
    error = f"{one.file}: The name {one.name} is there {len(places)} times: {', '.join(places)}."
    return replace(one, error=error)
