"""Importing one's own strategies, and the text of every file that came with them.

Modules of the folder are compiled from their text each time, never from a cache: Python's own
takes a file that changed twice within a second, to the same length, for unchanged.
"""

import importlib
import importlib.util
import keyword
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from backtests.own.folder import StrategyFile, content_of
from backtests.own.machine_paths import ROOT, without_machine_paths
from backtests.strategies.base import Signal, Strategy
from backtests.strategies.descriptions import BadStrategy, StrategyClass, check

MAX_MESSAGE = 500


class BadFile(ValueError):
    """A file whose strategies cannot be used, for a reason in words that names the file."""


class FolderLoader(SourceFileLoader):
    """Loads a module of the folder, and keeps the text that it was compiled from."""

    def __init__(self, imports: "FolderImports", fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.imports = imports

    def get_code(self, fullname: str) -> CodeType:
        content = content_of(Path(self.path))
        self.imports.contents[self.imports.name_of(self.path)] = content
        code: CodeType = self.source_to_code(content, self.path)
        return code


class FolderImports:
    """Imports of this process from one folder, with the content of each file by its name there.

    There is one folder at a time. Beginning with one lets go of the modules of the one before, so
    that every file is read anew.
    """

    current: "FolderImports | None" = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents: dict[str, bytes] = {}
        if FolderImports.current:
            FolderImports.current.end()
        self._forget_finders()
        sys.path_hooks.insert(0, self.find_in)
        # The last place: a file of the folder takes the place of no other module.
        sys.path.append(str(folder))
        FolderImports.current = self

    def end(self) -> None:
        sys.path_hooks.remove(self.find_in)
        sys.path.remove(str(self.folder))
        self._forget_finders()
        for name, module in list(sys.modules.items()):
            if imports_of(module) is self:
                del sys.modules[name]
        FolderImports.current = None

    def find_in(self, path: str) -> FileFinder:
        """The finder for the folder and the packages in it; a hook of `sys.path_hooks`."""
        if not self.has(path):
            raise ImportError(path)
        loader: Any = partial(FolderLoader, self)
        return FileFinder(path, (loader, [".py"]))

    def has(self, path: str) -> bool:
        return Path(path).is_relative_to(self.folder)

    def name_of(self, path: str) -> str:
        return Path(path).relative_to(self.folder).as_posix()

    def _forget_finders(self) -> None:
        for path in list(sys.path_importer_cache):
            if self.has(path):
                del sys.path_importer_cache[path]


def imports_of(module: ModuleType | None) -> FolderImports | None:
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return loader.imports if isinstance(loader, FolderLoader) else None


def contents_of(strategy: StrategyClass) -> dict[str, bytes]:
    """The files that were imported along with a strategy, by name; none for shipped ones.

    They count as they were when this process loaded them.
    """
    imports = imports_of(sys.modules.get(strategy.__module__))
    return dict(sorted(imports.contents.items())) if imports else {}


def texts_of(strategy: StrategyClass) -> dict[str, str]:
    """The text of the files that were imported along with a strategy, by name."""
    contents = contents_of(strategy)
    return {name: importlib.util.decode_source(each) for name, each in contents.items()}


def file_of(strategy: StrategyClass) -> str:
    """The name of the file of a strategy of one's own within its folder."""
    module = sys.modules[strategy.__module__]
    imports = imports_of(module)
    return imports.name_of(str(module.__file__)) if imports else ""


def is_own(filename: str) -> bool:
    """Return whether a file is one of the folder that this process imports from."""
    imports = FolderImports.current
    return imports is not None and imports.has(filename)


# --- loading a file -------------------------------------------------------------------------------


def load(file: StrategyFile) -> list[StrategyClass]:
    """Import a file anew, and return its strategies. Raises BadFile."""
    return load_within(FolderImports(file.folder), file)


def load_within(imports: FolderImports, file: StrategyFile) -> list[StrategyClass]:
    _check_name(file)
    try:
        found = list(_strategies_in(importlib.import_module(file.module)))
        for strategy in found:
            check(strategy)
    except BadStrategy as fault:
        raise BadFile(f"{file.name}: {fault}") from None
    except Exception as error:
        raise BadFile(_in_words(error, imports, file)) from error
    except SystemExit:
        raise BadFile(f"{file.name}: It ends the process while it is imported.") from None
    if not found:
        raise BadFile(
            f"{file.name}: It defines no Signal and no Strategy. If it helps other files, let its"
            " name begin with an underscore."
        )
    return found


def _check_name(file: StrategyFile) -> None:
    module = file.module
    if any(Path(path).is_relative_to(file.folder) for path in (ROOT, sys.prefix)):
        raise BadFile(
            f"{file.name}: Its folder holds the program, too. Put it into a folder of its own."
        )
    if not module.isidentifier() or keyword.iskeyword(module):
        raise BadFile(
            f"{file.name}: A file that Python can import is named by letters, digits and"
            " underscores."
        )
    if module in sys.stdlib_module_names or _is_elsewhere(file):
        raise BadFile(f"{file.name}: Another module is called {module}. Rename the file.")


def _is_elsewhere(file: StrategyFile) -> bool:
    try:
        spec = importlib.util.find_spec(file.module)
    except ValueError:  # a module without a spec
        return True
    return spec is None or spec.origin != str(file.path)


def _strategies_in(module: ModuleType) -> Iterator[StrategyClass]:
    """The strategies that a module or a package defines, without those that others build on."""
    defined = [
        each
        for each in dict.fromkeys(v for v in vars(module).values() if isinstance(v, type))
        if issubclass(each, Signal | Strategy)
        and f"{each.__module__}.".startswith(f"{module.__name__}.")
    ]
    for each in defined:
        is_base = any(other is not each and issubclass(other, each) for other in defined)
        if not each.__name__.startswith("_") and not (is_base and "name" not in vars(each)):
            yield each


def _in_words(error: Exception, imports: FolderImports, file: StrategyFile) -> str:
    """An error of an import with its place, and without the paths of this machine."""
    if isinstance(error, SyntaxError) and error.filename and imports.has(error.filename):
        where, words = _place(imports, error.filename, error.lineno), f"SyntaxError: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if imports.has(frame.filename)]
        where = _place(imports, inside[-1].filename, inside[-1].lineno) if inside else file.name
        words = f"{type(error).__name__}: {error}"
    words = without_machine_paths(words)
    printable = "".join(each if each.isprintable() else " " for each in words)
    return f"{where}: {printable}"[:MAX_MESSAGE]


def _place(imports: FolderImports, filename: str, line: int | None) -> str:
    return f"{imports.name_of(filename)}, line {line or 0}"
