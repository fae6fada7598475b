"""Read a small YAML file that says how files are to be read.

Values are taken as they are written, since YAML itself reads `no` as a truth value.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from kalshi_insights.bad_input import BadInput
from markets.importing.reading.raw_rows import file_fault

# The keys of the file, which are called as the flags are.
KEYS = ("preset", "unit", "scale", "time-zone", "time-format", "ticker", "sizes")
COLUMNS = "columns"
NOTHING = ("", "~", "null")  # a field that the file has no column for


def read_mapping(path: Path) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the settings and the columns by field; raises BadInput, with line and column."""
    try:
        root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadInput("--mapping", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise file_fault(path.name, "is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise _fault(path, error.problem_mark, str(error.problem)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise file_fault(path.name, str(error)) from None
    settings, columns = {}, {}
    for key, value in _pairs(path, root):
        if key.value == COLUMNS:
            columns = {
                each.value: "" if text in NOTHING else text
                for each, node in _pairs(path, value)
                for text in [_text(path, node)]
            }
        elif key.value in KEYS:
            settings[key.value] = _text(path, value)
        else:
            known = ", ".join([COLUMNS, *KEYS])
            raise _fault(path, key.start_mark, f"{key.value!r} is none of {known}")
    return settings, columns


def _pairs(path: Path, node: Node | None) -> Iterator[tuple[ScalarNode, Node]]:
    """Yield the keys and values of a mapping, none of them twice."""
    if not isinstance(node, MappingNode):
        mark = node.start_mark if node else None
        raise _fault(path, mark, "names and values are expected, such as `unit: cents`")
    keys = set()
    for key, value in node.value:
        if _text(path, key) in keys:
            raise _fault(path, key.start_mark, f"{key.value!r} stands here a second time")
        keys.add(key.value)
        yield key, value


def _text(path: Path, node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise _fault(path, node.start_mark, "one value is expected")
    text: str = node.value
    return text


def _fault(path: Path, mark: yaml.Mark | None, message: str) -> BadInput:
    if mark is None:
        return file_fault(path.name, message, line=1)
    return file_fault(path.name, message, line=mark.line + 1, column=str(mark.column + 1))
