"""Files of one's own: what is read of them, and what is wrong with some."""

import json
import os
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.own import imports, kept, reading
from backtests.own.describe import FileReport
from backtests.own.folder import (
    BadFolder,
    StrategyFile,
    file_at,
    stated_names,
    strategy_files,
    warning_of,
)
from backtests.own.machine_paths import ROOT, without_machine_paths
from backtests.strategies.descriptions import LARGEST, StrategyDescription
from backtests.strategies.parameters import Parameter
from backtests.tests.own_strategies import is_gone, write, write_signal


def read(path, **options):
    return reading.read(StrategyFile(path.name, path.parent), **options)


def load(path):
    return imports.load(StrategyFile(path.name, path.parent))


# --- the folder -----------------------------------------------------------------------------------


def test_a_folder_lists_files_and_packages_but_no_helpers_and_no_tests(tmp_path):
    for name in ("b.py", "a.py", "_helper.py", ".hidden.py", "test_a.py", "conftest.py", "x.txt"):
        write(tmp_path, name, "")
    write(tmp_path, "ladder/__init__.py", "")
    write(tmp_path, "tests/__init__.py", "")
    write(tmp_path, "data/notes.py", "")
    assert [file.name for file in strategy_files(tmp_path)] == [
        "a.py",
        "b.py",
        "ladder/__init__.py",
    ]


def test_a_name_that_is_not_utf8_hides_no_other(tmp_path):
    write(tmp_path, "a.py", "")
    (tmp_path / os.fsdecode(b"caf\xe9.py")).touch()
    (tmp_path / os.fsdecode(b"data\xe9.csv")).touch()
    assert [file.name for file in strategy_files(tmp_path)] == ["a.py"]
    [report] = kept.reports(strategy_files(tmp_path))
    assert report.error.startswith("a.py: It defines no Signal")


def test_there_need_be_no_folder(tmp_path):
    assert strategy_files(tmp_path / "none") == []


def test_what_is_no_folder_is_told_of(tmp_path):
    with pytest.raises(BadFolder, match=r"cannot be read: Not a directory"):
        strategy_files(write(tmp_path, "file", ""))


def test_who_else_could_change_a_file_is_told_of(tmp_path):
    file = StrategyFile("a.py", tmp_path)
    path = write(tmp_path, "a.py", "")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    assert warning_of(file) == ""
    path.chmod(0o666)
    assert warning_of(file).startswith("Other users of this machine may write to a.py")
    path.chmod(0o644)
    tmp_path.chmod(0o777)
    assert "may write to its folder" in warning_of(file)


def test_so_is_who_could_change_what_it_imports(tmp_path):
    for name in ("a.py", "_helpers.py", "ladder/steps.py"):
        write(tmp_path, name, "").chmod(0o644)
    for place in (tmp_path, tmp_path / "ladder"):
        place.chmod(0o755)
    imported = ["_helpers.py", "ladder/steps.py"]
    file = StrategyFile("a.py", tmp_path)
    assert warning_of(file, imported) == ""
    (tmp_path / "ladder").chmod(0o777)
    assert "may write to its folder" in warning_of(file, imported)
    (tmp_path / "_helpers.py").chmod(0o666)
    assert "may write to _helpers.py" in warning_of(file, imported)
    assert warning_of(file) == ""


def test_a_package_is_named_by_its_folder_or_by_its_first_file(tmp_path):
    write(tmp_path, "ladder/__init__.py", "")
    package = StrategyFile("ladder/__init__.py", tmp_path)
    assert file_at(tmp_path / "ladder") == package
    assert file_at(tmp_path / "ladder" / "__init__.py") == package
    assert file_at(write(tmp_path, "a.py", "")) == StrategyFile("a.py", tmp_path)
    for path, words in (("none.py", "There is no file"), (".", "is no package")):
        with pytest.raises(BadFolder, match=words):
            file_at(tmp_path / path)


def test_a_group_of_others_counts_and_a_group_of_ones_own_does_not(tmp_path):
    path = write(tmp_path, "a.py", "")
    tmp_path.chmod(0o755)
    path.chmod(0o664)
    is_own = os.getgid() == os.getuid()
    assert bool(warning_of(StrategyFile("a.py", tmp_path))) is not is_own


def test_the_names_in_a_text_are_found_without_running_it(tmp_path):
    text = (
        "class A(Signal):\n    name = \"cheap-side\"\n\nclass B(A):\n    name: str = 'dear-side'\n("
    )
    write(tmp_path, "a.py", text)
    assert stated_names(StrategyFile("a.py", tmp_path)) == ["cheap-side", "dear-side"]


# --- what is read ---------------------------------------------------------------------------------


def test_a_file_is_described_without_being_imported_here(tmp_path):
    report = read(write_signal(tmp_path, more="print('not part of the answer')\n"))
    (found,) = report.strategies
    assert (found.name, found.kind, found.version) == ("cheap-side", "signal", "1")
    assert (found.origin, found.file, found.error) == ("own", "cheap_side.py", "")
    assert found.schema["contracts"].most == 1_000_000
    assert "cheap_side" not in sys.modules


def test_a_strategy_that_sends_its_own_orders_is_described_too(tmp_path):
    path = write(
        tmp_path,
        "hedger.py",
        "from backtests.strategies.base import Strategy, bt\n\n"
        "class Hedger(Strategy):\n"
        "    name, version, summary = 'hedger', '1', 'Hedges.'\n",
    )
    (found,) = read(path).strategies
    assert (found.name, found.kind) == ("hedger", "event-driven")


def test_every_file_that_it_imports_from_the_folder_is_named(tmp_path):
    write(tmp_path, "_helpers.py", "SPREAD = 0.05\n")
    write(tmp_path, "ladder/__init__.py", "from ladder.steps import STEPS\n")
    write(tmp_path, "ladder/steps.py", "STEPS = 3\n")
    more = "import json\nfrom _helpers import SPREAD\nfrom ladder import STEPS\n"
    files = read(write_signal(tmp_path, more=more)).files
    assert set(files) == {"cheap_side.py", "_helpers.py", "ladder/__init__.py", "ladder/steps.py"}


def test_a_package_may_have_its_strategies_in_files_of_its_own(tmp_path):
    write(tmp_path, "ladder/__init__.py", "from ladder.buying import Buying\n")
    write_signal(tmp_path, "ladder/buying.py", name="ladder-buying", class_name="Buying")
    report = reading.read(StrategyFile("ladder/__init__.py", tmp_path))
    assert [each.name for each in report.strategies] == ["ladder-buying"]


def test_a_base_without_a_name_is_no_strategy(tmp_path):
    base = "from backtests.strategies.base import Signal\n\nclass Base(Signal):\n    pass\n\n"
    text = write_signal(tmp_path).read_text().replace("(Signal)", "(Base)")
    (found,) = read(write(tmp_path, "cheap_side.py", base + text)).strategies
    assert found.name == "cheap-side"


BROKEN = [
    ("cheap_side.py", "import sys\nx = 1 / 0\n", "cheap_side.py, line 2: ZeroDivisionError: "),
    ("cheap_side.py", "x = (\n", "cheap_side.py, line 1: SyntaxError: "),
    ("cheap_side.py", "import no_such_library\n", "line 1: ModuleNotFoundError: No module named"),
    ("cheap_side.py", "import sys\nsys.exit(3)\n", "cheap_side.py: It ends the process while"),
    ("cheap_side.py", "import os\nos._exit(3)\n", "The process that imports it ended with code 3."),
    ("cheap_side.py", "x = bytearray(10**12)\n", "cheap_side.py, line 1: MemoryError"),
    ("cheap_side.py", "x = 1\n", "cheap_side.py: It defines no Signal and no Strategy."),
    ("cheap_side.py", b"\xff\xfe\x00", "cheap_side.py"),
    ("cheap_side.py", "raise ValueError('a\\0b' * 900)\n", "line 1: ValueError: a b"),
    (
        "cheap_side.py",
        "from backtests.strategies.base import Nothing\n",
        "name 'Nothing' from 'backtests.strategies.base' (backtests/strategies/base.py)",
    ),
    ("cheap_side.py", "from numpy import nothing\n", "(numpy/__init__.py)"),
    ("cheap_side.py", "open('/nowhere/at/all')\n", "No such file or directory: '/nowhere/at/all'"),
    ("json.py", "", "json.py: Another module is called json. Rename the file."),
    ("numpy.py", "", "numpy.py: Another module is called numpy. Rename the file."),
    ("markets.py", "", "markets.py: Another module is called markets."),
    ("cheap-side.py", "", "cheap-side.py: A file that Python can import is named by letters"),
    ("class.py", "", "class.py: A file that Python can import"),
]


@pytest.mark.parametrize(("name", "content", "words"), BROKEN)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = read(path)
    assert report.strategies == []
    assert words in report.error
    assert len(report.error) <= 600
    for place in map(str, (tmp_path, ROOT, sys.prefix, sys.base_prefix)):
        assert place not in report.error
    assert report.error.isprintable()


def test_words_lose_the_folders_of_this_machine_and_no_others():
    home = os.path.expanduser("~")
    words = f"({ROOT}/backtests/a.py) {ROOT} {ROOT}-old/x /data{ROOT}/x {home}/data.csv {home}x"
    assert without_machine_paths(words) == (
        f"(backtests/a.py)  {ROOT}-old/x /data{ROOT}/x ~/data.csv {home}x"
    )


def test_words_keep_folders_that_only_lie_beside_the_libraries(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert without_machine_paths("no /usr/share/x") == "no /usr/share/x"
    assert without_machine_paths(f"in {json.__file__}") == "in json/__init__.py"


LACKING = [
    ("name", "'Cheap Side'", "CheapSide.name must be lower-case letters, digits and hyphens"),
    ("name", "'../../etc'", "CheapSide.name must be lower-case letters, digits and hyphens"),
    ("version", "1", "CheapSide.version must be a text of 1 to 50 characters."),
    ("summary", "''", "CheapSide.summary must be a text"),
    ("summary", "'\\udc00'", "CheapSide.summary must be a text"),
    ("version", "'1\\0'", "CheapSide.version must be a text"),
    ("schema", "{'a': Parameter(default=1, help='\\0')}", "must be texts."),
    ("targets", "Signal.targets", "CheapSide has no method targets."),
    ("schema", "7", "CheapSide.schema must be a mapping"),
    ("schema", "{'edge': 0.5}", "CheapSide.schema, 'edge': must be a Parameter."),
    ("schema", "{'an edge': CONTRACTS}", "a name must be a short identifier."),
    ("schema", "{'a': Parameter(default=3, least=5, help='A.')}", "its own rule: Must be at least"),
    ("schema", "{'a': Parameter(default=float('inf'), help='A.')}", "must be numbers of at most"),
    ("schema", "{'a': Parameter(default=10**400, help='A.')}", "must be numbers of at most"),
    ("schema", "{'a': Parameter(default=1, least='0', help='A.')}", "must be numbers of at most"),
    ("schema", "{'a': Parameter(default=None, help='A.')}", "the default must be a number"),
    ("schema", "{'a': Parameter(default=1, help=None)}", "must be texts."),
]


@pytest.mark.parametrize(("attribute", "value", "words"), LACKING)
def test_a_class_that_lacks_something_says_what(tmp_path, attribute, value, words):
    text = write_signal(tmp_path).read_text()
    imported = "from backtests.strategies.base import Parameter\n"
    path = write(tmp_path, "cheap_side.py", f"{imported}{text}    {attribute} = {value}\n")
    with pytest.raises(imports.BadFile) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith("cheap_side.py: ")


def test_a_file_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    started = tmp_path / "started"
    path = write_signal(
        tmp_path,
        more="import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(started)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n",
    )
    report = read(path, seconds=2)
    assert report.error == "cheap_side.py: Importing it takes longer than 2 seconds."
    assert is_gone(int(started.read_text()))


def test_it_sees_nothing_of_the_environment_of_the_site(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "a secret")
    report = read(write(tmp_path, "a.py", "import os\nraise ValueError(dict(os.environ))\n"))
    assert "a secret" not in report.error
    assert "DATABASE_URL" not in report.error


@given(
    st.one_of(
        st.booleans(),
        st.integers(-LARGEST, LARGEST),
        st.floats(-LARGEST, LARGEST),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    )
)
def test_a_description_comes_out_of_its_process_as_it_went_in(default):
    choices = (default,) if isinstance(default, str) else ()
    parameter = Parameter(default=default, help="A.", choices=choices, unit="$")
    described = StrategyDescription(name="a", version="1", schema={"a": parameter})
    report = FileReport([described], {"a.py": "0" * 64})
    decoded = msgspec.json.decode(msgspec.json.encode(report), type=FileReport)
    assert decoded == report
    assert type(decoded.strategies[0].schema["a"].default) is type(default)


# --- loading here ---------------------------------------------------------------------------------


def test_a_file_that_changed_within_the_same_second_to_the_same_length_is_read_anew(tmp_path):
    path = write_signal(tmp_path, version="1")
    (first,) = load(path)
    stamp = path.stat()
    write_signal(tmp_path, version="2")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (second,) = load(path)
    assert (first.version, second.version) == ("1", "2")


def test_what_is_kept_is_the_text_that_was_loaded(tmp_path):
    path = write_signal(tmp_path)
    text = path.read_bytes()
    (strategy,) = load(path)
    path.write_text("something else")
    assert imports.contents_of(strategy) == {"cheap_side.py": text}


def test_a_file_imported_later_is_kept_too(tmp_path):
    write(tmp_path, "_late.py", "X = 1\n")
    body = "\n    def late(self):\n        import _late\n"
    path = write_signal(tmp_path)
    path.write_text(path.read_text() + body)
    (strategy,) = load(path)
    strategy().late()
    assert set(imports.contents_of(strategy)) == {"_late.py", "cheap_side.py"}


def test_a_folder_takes_the_place_of_no_other_module(tmp_path):
    write(tmp_path, "colorsys.py", "raise ValueError('taken')\n")
    path = write_signal(tmp_path, more="import colorsys\n")
    assert len(load(path)) == 1


def test_another_folder_lets_go_of_the_modules_of_the_one_before(tmp_path):
    load(write_signal(tmp_path / "one"))
    (found,) = load(write_signal(tmp_path / "two", version="2"))
    assert found.version == "2"
    assert [path for path in sys.path if str(tmp_path) in path] == [str(tmp_path / "two")]
