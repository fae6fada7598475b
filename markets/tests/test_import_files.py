"""Files of imports: lines are counted as an editor counts them, and no half line is read."""

import gzip

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_insights.bad_input import BadInput
from markets.importing.parsed_rows import RefusedRow
from markets.importing.reading.csv_file import CsvFile
from markets.importing.reading.files import find_files, open_file


@pytest.fixture
def write(tmp_path):
    def write(content, name="rows.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, *columns, piece=64):
    """All rows as (line, values) and all refusals, read in small pieces."""
    file = open_file(path)
    if isinstance(file, CsvFile):
        file.piece = piece
    rows: list[tuple[int, tuple[str, ...]]] = []
    refused: list[RefusedRow] = []
    for batch in file.rows(columns or file.column_names()):
        values = zip(*(batch.columns[name].to_pylist() for name in batch.columns), strict=True)
        rows += zip(batch.lines.tolist(), values, strict=True)
        refused += batch.refused
    return rows, refused


def file_error(path):
    with pytest.raises(BadInput) as caught:
        read(path)
    return str(caught.value)


def test_each_row_has_the_number_of_its_line(write):
    path = write("a,b\n1,2\n3,4\n")
    assert read(path) == ([(2, ("1", "2")), (3, ("3", "4"))], [])


def test_only_the_columns_that_are_asked_for_are_read(write):
    assert read(write("a,b,c\n1,2,3\n"), "c", "a")[0] == [(2, ("3", "1"))]


@pytest.mark.parametrize("piece", [1, 64])
def test_empty_lines_count_as_lines(write, piece):
    rows, refused = read(write("a,b\n1,2\n\n\n3,4\n"), piece=piece)
    assert rows == [(2, ("1", "2")), (5, ("3", "4"))]
    assert refused == []


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_mark_may_stand_between_values(write, mark):
    content = "a,b\n1,2\n".replace(",", mark) + f'"1{mark},"{mark}4\n'
    assert read(write(content))[0] == [(2, ("1", "2")), (3, (f"1{mark},", "4"))]


def test_lines_of_commas_alone_are_no_rows(write):
    assert read(write("a,b\n1,2\n,\n,4\n")) == ([(2, ("1", "2")), (4, ("", "4"))], [])


def test_a_line_with_too_few_or_too_many_values_is_refused_by_its_number(write):
    rows, refused = read(write("a,b\n1,2\n\n3\n4,5,6\n7,8\n"))
    assert rows[-1] == (6, ("7", "8"))
    assert [(each.line, each.text) for each in refused] == [(4, "3"), (5, "4,5,6")]
    assert refused[0].reason == "the line has 1 values for 2 columns"


def test_values_may_have_newlines_and_count_as_the_lines_they_are(write):
    rows, refused = read(write('a,b\n"one\ntwo\nthree",1\nx\n4,"5"\n'))
    assert rows == [(2, ("one\ntwo\nthree", "1")), (6, ("4", "5"))]
    assert [each.line for each in refused] == [5]


@pytest.mark.parametrize("ending", ["3,4", "3", "3,", '"3'])
def test_half_a_line_at_the_end_is_told_and_not_read(write, ending):
    rows, refused = read(write(f"a,b\n1,2\n{ending}"))
    assert rows == [(2, ("1", "2"))]
    [half] = refused
    assert (half.line, half.text) == (3, ending)
    assert "ends within this line" in half.reason


def test_a_compressed_file_that_was_cut_off_gives_its_whole_lines(write):
    content = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(5000)))
    rows, refused = read(write(content[: len(content) // 2], "rows.csv.gz"))
    assert 100 < len(rows) < 5000
    assert rows[99] == (101, ("99", "9801"))
    assert [each.line for each in refused] in ([], [len(rows) + 2])


def test_a_damaged_compressed_file_is_refused_by_name(write):
    content = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 5000))
    content[20:40] = b"\xff" * 20
    assert file_error(write(bytes(content), "rows.csv.gz")).startswith("rows.csv.gz: is damaged")


def test_windows_lines_and_byte_order_marks_are_read(write):
    assert read(write(b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4\r\n"))[0] == [
        (2, ("1", "2")),
        (3, ("3", "4")),
    ]


def test_text_in_another_encoding_is_refused_by_its_line(write):
    assert file_error(write(b"a,b\n1,2\n3,caf\xe9\n")) == "rows.csv, line 3: is not UTF-8"


@pytest.mark.parametrize("content", ["\n1,2\n", ",,\n1,2,3\n"])
def test_a_first_line_without_names_is_refused(write, content):
    assert file_error(write(content)) == "rows.csv, line 1: the first line names no columns"


def test_an_empty_file_is_refused_by_name(write):
    assert file_error(write("")).endswith("rows.csv: the file is empty")


def test_a_header_alone_has_no_rows(write):
    assert read(write("a,b\n")) == ([], [])


@pytest.mark.parametrize("line", [b"\xff,2,3", b"\xff", b"1,\xff"])
def test_misshapen_lines_in_another_encoding_are_refused_too(write, line):
    assert file_error(write(b"a,b\n1,2\n" + line + b"\n")) == "rows.csv, line 3: is not UTF-8"


def test_a_value_that_does_not_end_is_refused_by_its_line(write):
    message = file_error(write('a,b\n"1\n",2\n"3,4\n5,6\n'))
    assert message == "rows.csv, line 4: a quotation mark does not close"


def test_lines_that_end_with_carriage_returns_alone_are_refused(write):
    assert file_error(write("a,b\r1,2\r")).startswith("rows.csv: lines must end with newlines")


def test_a_quotation_mark_that_never_closes_is_refused(write, monkeypatch):
    monkeypatch.setattr("markets.importing.reading.csv_file.LONGEST_LINE", 500)
    assert "a quotation mark does not close" in file_error(write('a,b\n"1,2\n' + "3,4\n" * 500))


def test_parquet_rows_are_numbered_from_one(tmp_path):
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": [1, None]}).to_parquet(path)
    assert read(path) == ([(1, ("x", 1.0)), (2, ("y", None))], [])


def test_a_file_that_only_begins_like_parquet_is_refused_by_name(write):
    assert file_error(write(b"PAR1 and then text", "rows.parquet")).startswith("rows.parquet: is")


def test_a_folder_gives_its_files_and_those_of_its_folders_in_order(write, tmp_path):
    for name in ("b.csv", "a/z.parquet", "a/c.CSV.GZ", ".hidden/d.csv", "._b.csv", "notes.txt"):
        write("a\n", name)
    names = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path])]
    assert names == ["a/c.CSV.GZ", "a/z.parquet", "b.csv"]


def test_a_file_named_twice_is_read_once(write, tmp_path):
    path = write("a\n")
    assert find_files([path, tmp_path, path]) == [path]


def test_a_name_without_a_file_and_a_folder_without_data_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.csv does not exist"):
        find_files([tmp_path / "nothing.csv"])
    with pytest.raises(BadInput, match=r"has no file that ends in \.csv"):
        find_files([tmp_path])


TEXTS = st.text(st.sampled_from('ab,"\n é'), max_size=6)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=8), piece=st.integers(1, 40))
def test_what_is_written_as_csv_is_read_back_however_it_is_cut(tmp_path_factory, rows, piece):
    rows = [row for row in rows if any(row)]  # an empty line is no row
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(path, index=False, lineterminator="\n")
    found, refused = read(path, piece=piece)
    assert [values for _, values in found] == rows
    assert refused == []
    taken = [1 + "".join(row).count("\n") for row in rows]
    assert [line for line, _ in found] == [2 + sum(taken[:n]) for n in range(len(rows))]


def test_what_is_appended_while_a_file_is_read_is_not_of_it(write):
    path = write("a,b\n1,2\n")
    file = open_file(path)
    with path.open("a") as log:
        log.write("3,4\n")
    assert [rows.lines.tolist() for rows in file.rows(["a"])] == [[2]]


def test_columns_without_a_name_have_their_number(write):
    assert read(write("a,,\n1,2,3\n"), "column 3")[0] == [(2, ("3",))]


def test_a_header_without_a_newline_has_no_rows(write):
    assert read(write("a,b")) == ([], [])


def test_values_that_nobody_can_parse_are_refused_by_their_column(tmp_path):
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": [{"x": 1}]}).to_parquet(path)
    assert file_error(path).startswith("rows.parquet, column a: has values of the type struct")
    pd.DataFrame({"a": [b"text"], "b": [None]}).to_parquet(path)
    assert read(path)[0] == [(1, ("text", None))]
    pd.DataFrame({"a": [b"\xff"]}).to_parquet(path)
    assert file_error(path) == "rows.parquet, column a: is not UTF-8"


def test_a_name_that_cannot_be_kept_is_refused(tmp_path):
    path = tmp_path / "rows\udcff.csv"
    path.write_text("a\n")
    with pytest.raises(BadInput, match="has a name that cannot be kept"):
        find_files([tmp_path])
