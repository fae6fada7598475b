"""Modules that are loaded at their first use.

A process takes the memory of everything that it imports, whether it ever comes to it or not: most
processes never compute with arrays nor write a Parquet file, but they import modules that can.
"""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module, and loads it once an attribute of it is asked for.

    A type checker has to be told what it stands for, by an import under `TYPE_CHECKING`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        # From now on the attribute is found without a call.
        setattr(self, attribute, value)
        return value
