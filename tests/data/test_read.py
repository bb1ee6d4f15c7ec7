"""Every kind of file, every way it can be wrong, and the line of each pair."""

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suguk.data.read import Pairs, read, references
from suguk.data.tables import READERS
from suguk.data.texts import Texts
from suguk.errors import DataError, Problem

Write = Callable[[str, str | bytes], Path]
PAIRS = [("Ve.", "Go."), ("¿Qué?", "What?"), ("안녕", "👋🏽")]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def pairs_of(pairs: Pairs) -> list[tuple[str, str]]:
    return list(zip(pairs.sources, pairs.targets, strict=True))


def told(pairs: Pairs) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.kind) for problem in pairs.problems]


def refused(*paths: str | Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(paths, **options)
    return caught.value


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


class TestKinds:
    @pytest.mark.parametrize("ending", ["tsv", "tab", "txt", "tsv.gz", "TSV"])
    def test_tabs(self, write: Write, ending: str) -> None:
        pairs = read([write(f"t.{ending}", "".join(f"{s}\t{t}\n" for s, t in PAIRS))])
        assert pairs_of(pairs) == PAIRS
        assert pairs.lines.tolist() == [1, 2, 3]

    @pytest.mark.parametrize("ending", ["csv", "csv.gz"])
    def test_commas(self, write: Write, ending: str) -> None:
        assert pairs_of(read([write(f"t.{ending}", 'Ve.,Go.\n"a, ""b""",c\n')])) == [
            ("Ve.", "Go."),
            ('a, "b"', "c"),
        ]

    @pytest.mark.parametrize("ending", ["jsonl", "ndjson", "jsonl.gz"])
    def test_json_lines(self, write: Write, ending: str) -> None:
        rows = [{"id": {"deep": 1}, "de": s, "en": t} for s, t in PAIRS]
        path = write(f"t.{ending}", "".join(json.dumps(row) + "\n" for row in rows))
        pairs = read([path], source="de", target="en")
        assert pairs_of(pairs) == PAIRS
        assert "source is column 'de', target is column 'en'" in " ".join(pairs.notes)

    def test_numbers_and_null_in_json(self, write: Write) -> None:
        path = write("t.jsonl", '{"a": "1+1", "b": 2}\n{"b": 0.5, "a": null}\n')
        assert pairs_of(read([path])) == [("1+1", "2"), ("", "0.5")]

    def test_parquet(self, tmp_path: Path) -> None:
        dictionary = pa.array(["x", "y", "x"]).dictionary_encode()
        path = parquet(tmp_path / "t.parquet", vector=[[1], [2], [3]], kind=dictionary, n=[7, None, 11])
        pairs = read([path], source="kind", target="n")
        assert pairs_of(pairs) == [("x", "7"), ("y", ""), ("x", "11")]
        assert pairs.lines.tolist() == [1, 2, 3]

    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_parallel_files(self, write: Write, ending: str) -> None:
        paths = [write(f"train.{side}{ending}", f"a\t{side}\nb\n\n") for side in ("es", "en")]
        pairs = read(paths)
        assert pairs_of(pairs) == [("a\tes", "a\ten"), ("b", "b"), ("", "")]
        assert [pairs.place(1, side) for side in (0, 1)] == [(str(path), 2) for path in paths]

    def test_a_last_line_needs_no_end(self, write: Write) -> None:
        assert len(read([write("t.tsv", "a\tb\nc\td")])) == 2

    def test_gzip_in_several_members(self, tmp_path: Path) -> None:
        path = tmp_path / "t.tsv.gz"
        path.write_bytes(gzip.compress(b"a\tb\n") + gzip.compress(b"c\td\n"))
        assert pairs_of(read([path])) == [("a", "b"), ("c", "d")]


class TestLines:
    @pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\f", "\v", "\x1c", "\r"])
    @pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.jsonl"])
    def test_only_line_feeds_end_lines(self, write: Write, name: str, inside: str) -> None:
        text = f"a{inside}b"
        form = {"t.tsv": f"{text}\tX", "t.csv": f"{text},X"}.get(
            name, json.dumps({"s": text, "t": "X"}, ensure_ascii=False)
        )
        pairs = read([write(name, f"{form}\n{form.replace('X', 'Y')}\n")])
        assert pairs_of(pairs) == [(text, "X"), (text, "Y")]
        assert pairs.lines.tolist() == [1, 2]

    def test_parallel_files_do_not_shift(self, write: Write) -> None:
        paths = [write("a", "x\u2028y\f\nz\n"), write("b", "1\n2\n")]
        assert pairs_of(read(paths)) == [("x\u2028y\f", "1"), ("z", "2")]

    @pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.jsonl"])
    def test_carriage_returns_at_the_end_and_a_byte_order_mark_are_no_text(
        self, write: Write, name: str
    ) -> None:
        lines = {"t.tsv": "es\ten\r\na\tb\r\n", "t.csv": "es,en\r\na,b\r\n"}.get(
            name, '{"es": "a", "en": "b"}\r\n'
        )
        pairs = read([write(name, b"\xef\xbb\xbf" + lines.encode())], source="es", target="en")
        assert pairs_of(pairs) == [("a", "b")]

    def test_quotes_between_tabs_are_characters(self, write: Write) -> None:
        content = '"Ve.\t"Go."\n"\t""\n'
        assert pairs_of(read([write("t.tsv", content)])) == [('"Ve.', '"Go."'), ('"', '""')]

    def test_quoted_line_breaks_keep_line_numbers(self, write: Write) -> None:
        pairs = read([write("t.csv", '"a\nb",c\nd,e\n"f","g\n\nh"\ni,j\n')])
        assert pairs_of(pairs) == [("a\nb", "c"), ("d", "e"), ("f", "g\n\nh"), ("i", "j")]
        assert pairs.lines.tolist() == [1, 3, 4, 7]

    def test_also_after_a_line_that_is_not_utf_8(self, write: Write) -> None:
        pairs = read([write("t.csv", b'a,b\nm\xe9,x\n"c\n\xff",d\ne,f\n')], skip_bad=True)
        assert pairs_of(pairs) == [("a", "b"), ("e", "f")]
        assert pairs.lines.tolist() == [1, 5]
        assert told(pairs) == [(2, "invalid UTF-8"), (4, "invalid UTF-8")]

    def test_a_quote_too_many_takes_no_other_line_along(self, write: Write) -> None:
        pairs = read([write("t.csv", 'a,b\n"c,d\ne,f\n"g"h,i\nj,k\n"l,m\n')], skip_bad=True)
        assert pairs_of(pairs) == [("a", "b"), ("e", "f"), ("j", "k")]
        assert pairs.lines.tolist() == [1, 3, 5]
        assert told(pairs) == [(2, "invalid CSV"), (4, "invalid CSV"), (6, "invalid CSV")]

    CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1)

    @given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=11))
    def test_any_text_comes_back(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        folder = tmp_path_factory.mktemp("any")
        for name, side in (("a", 0), ("b", 1)):
            # A byte order mark in front, so that one in the text stays.
            text = "\ufeff" + "".join(f"{row[side]}\n" for row in rows)
            (folder / name).write_bytes(text.encode())
        assert pairs_of(read([folder / "a", folder / "b"])) == rows


class TestHeader:
    def test_recognised_and_said(self, write: Write) -> None:
        pairs = read([write("t.tsv", "es\ten\nVe.\tGo.\n")])
        assert pairs_of(pairs) == [("Ve.", "Go.")]
        assert pairs.lines.tolist() == [2]
        assert "header row recognised: es | en" in pairs.notes[0]

    def test_not_recognised_and_said(self, write: Write) -> None:
        pairs = read([write("t.csv", "hola,hello\nVe.,Go.\n")])
        assert len(pairs) == 2
        assert "no header row recognised" in pairs.notes[0]

    def test_as_told(self, write: Write) -> None:
        path = write("t.tsv", "es\ten\nVe.\tGo.\n")
        assert len(read([path], header=False)) == 2
        assert len(read([write("u.tsv", "hola\thello\nVe.\tGo.\n")], header=True)) == 1

    def test_columns(self, write: Write) -> None:
        path = write("t.tsv", "id\tquestion\tanswer\n1\tq\ta\n2\tr\tb\n")
        assert pairs_of(read([path], source="question", target="answer")) == [("q", "a"), ("r", "b")]
        assert pairs_of(read([path], source="3", target="2")) == [("a", "q"), ("b", "r")]
        assert "did you mean question?" in str(refused(path, source="questoin"))


class TestColumnsOfOtherData:
    """Validation and test data may have the columns of the training data in another place."""

    def test_by_name(self, write: Write) -> None:
        path = write("t.tsv", "en\tes\nGo.\tVe.\n")
        assert pairs_of(read([path], like=("es", "en"))) == [("Ve.", "Go.")]
        assert pairs_of(read([path], like=("es", "en"), source="en", target="es")) == [("Go.", "Ve.")]

    @pytest.mark.parametrize("ending", ["tsv", "csv"])
    def test_their_names_make_a_header(self, write: Write, ending: str) -> None:
        """However unusual, where both are there; one alone may be data."""
        rows = [("formal", "informal"), ("Guten Tag", "Moin"), ("Auf Wiedersehen", "Tschüs")]
        between = "," if ending == "csv" else "\t"
        path = write(f"t.{ending}", "".join(between.join(row) + "\n" for row in rows))
        pairs = read([path], like=("informal", "formal"))
        assert pairs_of(pairs) == [("Moin", "Guten Tag"), ("Tschüs", "Auf Wiedersehen")]
        assert len(read([path], like=("informal", "fluent"))) == 3

    def test_without_their_names_the_first_two(self, write: Write) -> None:
        path = write("t.tsv", "en\tpt\nGo.\tVai.\n")
        pairs = read([path], like=("es", "en"))
        assert pairs_of(pairs) == [("Go.", "Vai.")]
        assert any("warning" in note and "'en' and 'pt'" in note for note in pairs.notes)
        other = read([write("u.tsv", "source\ttarget\nGo.\tVai.\n")], like=("es", "en"))
        assert not any("warning" in note for note in other.notes)


class TestNamesThatOccurTwice:
    def test_one_of_them_is_not_chosen(self, write: Write) -> None:
        path = write("t.tsv", "es\ten\tes\nVe.\tGo.\tVete.\n")
        assert "several columns are named 'es'" in str(refused(path, source="es", target="en"))
        pairs = read([path], source="3", target="2", header=True)
        assert pairs_of(pairs) == [("Vete.", "Go.")]
        assert pairs.sides == ("", "")

    def test_a_column_is_a_number_of_usual_digits(self, write: Write) -> None:
        assert "there is no column '²'" in str(refused(write("t.tsv", "a\tb\n"), source="²"))


class TestBadRows:
    @pytest.mark.parametrize("header", [None, True])
    def test_a_blank_row_before_the_header(self, write: Write, header: bool | None) -> None:
        path = write("t.tsv", "\t\nsource\ttarget\nhola\thello\n")
        pairs = read([path], header=header)
        assert pairs_of(pairs) == [("", ""), ("hola", "hello")]
        assert list(pairs.lines) == [1, 3]

    def test_a_key_that_comes_twice(self, write: Write) -> None:
        path = write("t.jsonl", '{"a": "y", "b": "x"}\n{"a": "lost", "a": "kept", "b": "x"}\n')
        pairs = read([path], skip_bad=True)
        assert told(pairs) == [(2, "invalid JSON")]
        assert "the key 'a' comes twice" in pairs.problems[0].message

    @pytest.mark.parametrize("ending", ["tsv", "tab", "csv"])
    def test_two_tables_are_not_parallel_text(self, write: Write, ending: str) -> None:
        both = [write(f"{name}.{ending}", "a\tb\n") for name in "tv"]
        assert "is a table, expected one of two parallel text files" in str(refused(*both))

    def test_parquet_that_is_not_utf_8(self, tmp_path: Path) -> None:
        raw = pa.array([b"uno", b"m\xe9tro", b"tres"]).view(pa.string())
        path = parquet(tmp_path / "t.parquet", a=raw, b=["one", "two", "three"])
        pairs = read([path], skip_bad=True)
        assert pairs_of(pairs) == [("uno", "one"), ("tres", "three")]
        assert told(pairs) == [(2, "invalid UTF-8")]
        assert "0xe9 at byte 2 of the cell" in pairs.problems[0].message

    def test_a_cell_that_is_too_long_for_csv(self, write: Write) -> None:
        pairs = read([write("t.csv", f"a,b\n{'x' * 200_000},c\nd,e\n")], skip_bad=True, header=False)
        assert "a cell of more than 131,072 characters" in pairs.problems[0].message

    def test_wrong_column_counts(self, write: Write) -> None:
        path = write("t.tsv", "a\tb\nc\nd\te\tf\n\ng\th\n")
        error = refused(path)
        assert [problem.line for problem in error.problems] == [2, 3, 4]
        text = str(error)
        assert f"{path}:2: expected 2 columns, as in the first row, found 1" in text
        assert f"{path}:3: expected 2 columns, as in the first row, found 3" in text
        assert f"{path}:4: empty line, expected 2 columns" in text
        assert "--skip-bad" in text
        pairs = read([path], skip_bad=True)
        assert pairs_of(pairs) == [("a", "b"), ("g", "h")]
        assert pairs.lines.tolist() == [1, 5]
        assert pairs.problems == list(error.problems)

    def test_invalid_utf_8_with_line_and_byte(self, write: Write) -> None:
        path = write("t.tsv", b"a\tb\nni\xc3\xb1o m\xe9\tx\nc\td\n")
        assert f"{path}:2: not valid UTF-8: 0xe9 at byte 8 of the line" in str(refused(path))
        assert pairs_of(read([path], skip_bad=True)) == [("a", "b"), ("c", "d")]

    def test_parallel_files_stay_aligned(self, write: Write) -> None:
        paths = [write("a", b"1\n\xff\n3\n4\n"), write("b", b"i\nii\n\xfe\niv\n")]
        pairs = read(paths, skip_bad=True)
        assert pairs_of(pairs) == [("1", "i"), ("4", "iv")]
        assert pairs.lines.tolist() == [1, 4]
        assert [(problem.path, problem.line) for problem in pairs.problems] == [
            (str(paths[0]), 2),
            (str(paths[1]), 3),
        ]

    def test_json(self, write: Write) -> None:
        deep = "[" * 100_000
        lines = ['{"a": "x", "b": "y"}', "{", "[1]", '{"a": "x"}', '{"a": true, "b": ["y"]}', deep, ""]
        lines += [r'{"a": "\ud800", "b": "y"}', '{"b": "z", "a": "w", "c": 0}', f'{{"a": {"9" * 5000}}}']
        pairs = read([write("t.jsonl", "\n".join(lines) + "\n")], skip_bad=True)
        assert pairs_of(pairs) == [("x", "y"), ("w", "z")]
        assert pairs.lines.tolist() == [1, 9]
        assert [line for line, _ in told(pairs)] == [2, 3, 4, 5, 5, 6, 7, 8, 10]
        assert "there is no 'b'" in [problem.message for problem in pairs.problems]

    def test_nothing_but_bad_rows(self, write: Write) -> None:
        path = write("t.jsonl", "x\ny\n")
        assert len(refused(path, skip_bad=True).problems) == 2


class TestRefused:
    def test_different_line_counts(self, write: Write) -> None:
        paths = [write("a", "1\n2\n3\n4\n5\n"), write("b", "i\nii\niii\n")]
        for skip_bad in (False, True):
            text = str(refused(*paths, skip_bad=skip_bad))
            assert f"found 5 in {paths[0]} and 3 in {paths[1]}" in text
            assert f"{paths[0]}:4: has no partner: {paths[1]} ends at line 3" in text
        assert f"{paths[0]}:4" in str(refused(*reversed(paths)))

    @pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz", "t.csv", "t.jsonl"])
    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
    def test_an_empty_file(self, write: Write, name: str, content: bytes) -> None:
        assert "the file is empty" in str(refused(write(name, content)))

    @pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
    def test_only_a_header(self, write: Write, name: str) -> None:
        content = {"t.tsv": "es\ten\n", "t.csv": "es,en\n"}[name]
        assert "there are no pairs in it" in str(refused(write(name, content), header=True))

    @pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.jsonl"])
    def test_one_column(self, write: Write, name: str) -> None:
        content = {"t.jsonl": '{"a": "b"}\n'}.get(name, "one\ntwo\n")
        assert re.search("expected at least two (columns|keys)", str(refused(write(name, content))))

    def test_no_rows_in_parquet(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "t.parquet", a=pa.array([], pa.string()), b=pa.array([], pa.string()))
        assert "there are no pairs in it" in str(refused(path))

    def test_a_parquet_column_without_text(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "t.parquet", a=["x"], b=[[1]])
        assert "column 'b' holds list" in str(refused(path))

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(97) + b"PAR1"])
    def test_damaged_parquet(self, write: Write, content: bytes) -> None:
        assert "not a readable Parquet file" in str(refused(write("t.parquet", content)))

    def test_half_a_parquet(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "t.parquet", a=["x"] * 997, b=["y"] * 997)
        path.write_bytes(path.read_bytes()[:-101])
        refused(path)

    @pytest.mark.parametrize(
        "damage", [lambda data: data[: len(data) // 2], lambda _: b"hello", lambda data: data + b"junk"]
    )
    def test_damaged_gzip(self, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
        path = tmp_path / "t.tsv.gz"
        path.write_bytes(damage(gzip.compress(b"".join(b"%d\t%d\n" % (i, i * i) for i in range(997)))))
        assert "cannot be unpacked" in str(refused(path))

    def test_gzip_by_another_name(self, write: Write) -> None:
        assert ".gz" in str(refused(write("t.tsv", gzip.compress(b"a\tb\n"))))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
    def test_utf_16(self, write: Write, encoding: str) -> None:
        assert "is UTF-16" in str(refused(write("t.tsv", "\ufeffa\tb\n".encode(encoding))))

    @pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
    def test_utf_32(self, write: Write, encoding: str) -> None:
        found = refused(write("t.tsv", ("\ufeff" + "a\tb\n").encode(encoding)))
        assert "is UTF-32" in str(found)
        assert "iconv -f UTF-32" in str(found)

    def test_a_name_that_is_not_utf_8(self, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/n\xff.tsv"
        try:
            Path(os.fsdecode(path)).write_bytes(b"a\tb\n")
        except OSError:
            pytest.skip("the file system takes no such name")
        assert "its name is not UTF-8" in str(refused(os.fsdecode(path)))

    @pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
    def test_a_header_that_cannot_be_read(self, write: Write, name: str) -> None:
        between = {"t.tsv": b"\t", "t.csv": b","}[name]
        path = write(name, b"espa\xf1ol\tingl\xe9s\nuno\tone\ndos\ttwo\n".replace(b"\t", between))
        assert "the header row is not UTF-8" in str(refused(path, header=True, skip_bad=True))

    @pytest.mark.parametrize("header", [True, False])
    def test_no_header_where_there_can_be_none(self, write: Write, header: bool) -> None:
        objects = write("t.jsonl", '{"a": "x", "b": "y"}\n')
        for paths in ([objects], [write("t.a", "x\n"), write("t.b", "y\n")]):
            found = str(refused(*paths, header=header))
            assert "only .tsv and .csv may have a header row" in found
            assert ("--header" if header else "--no-header") in found

    def test_half_a_surrogate_pair_as_a_key(self, write: Write) -> None:
        assert "half a surrogate pair in the key" in str(
            refused(write("t.jsonl", '{"a\\ud800": "x", "b": "y"}\n'))
        )

    def test_a_directory(self, tmp_path: Path) -> None:
        assert "is a directory, expected a file" in str(refused(tmp_path))
        assert "is a directory, expected a file" in str(refused(tmp_path, tmp_path))

    def test_a_run_directory(self, tmp_path: Path) -> None:
        (tmp_path / "model.json").write_text("{}", encoding="utf-8")
        assert "is a run directory, expected data" in str(refused(tmp_path))

    def test_a_missing_file(self, write: Write, tmp_path: Path) -> None:
        write("train.tsv", "a\tb\n")
        assert f"did you mean {tmp_path / 'train.tsv'}?" in str(refused(tmp_path / "trian.tsv"))
        assert "no such file" in str(refused(tmp_path / "a.es", tmp_path / "a.en"))
        assert "there is no directory" in str(refused(tmp_path / "runs" / "train.tsv"))

    @pytest.mark.parametrize("name", ["t.xlsx", "t", "t.gz", "t.parquet.gz"])
    def test_an_unknown_ending(self, write: Write, name: str) -> None:
        text = str(refused(write(name, "a\tb\n")))
        assert ".tsv" in text
        assert ".parquet" in text

    @pytest.mark.parametrize("count", [0, 3, 5])
    def test_one_or_two_paths(self, count: int) -> None:
        assert f"found {count} paths" in str(refused(*["t.tsv"] * count))

    def test_two_tables(self, write: Write) -> None:
        paths = [write(name, "a,b\n") for name in ("t.csv", "u.csv")]
        assert "expected one of two parallel text files" in str(refused(*paths))

    def test_columns_of_parallel_files(self, write: Write) -> None:
        paths = [write(name, "a\n") for name in ("t.es", "t.en")]
        assert "have no columns" in str(refused(*paths, source="1"))


def test_references_are_grouped_in_the_order_of_first_sight() -> None:
    pairs = Pairs(("t",), Texts("babca"), Texts("12357"))
    assert references(pairs) == (["b", "a", "c"], [["1", "3"], ["2", "7"], ["5"]])


def test_some_pairs_are_kept_with_their_lines() -> None:
    pairs = Pairs(("t",))
    for line, text in [(2, "a"), (3, "b"), (7, "c")]:
        pairs.add(line, text, text * 2)
    kept = pairs.keep([True, False, True])
    assert pairs_of(kept) == [("a", "aa"), ("c", "cc")]
    assert [kept.place(i) for i in range(2)] == [("t", 2), ("t", 7)]


def test_the_sides_are_called_as_the_files_call_them(tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("en\tnote\tko\na\tb\tc\n", encoding="utf-8")
    found = read([table], source="en", target="ko")
    assert found.sides == found.keep([True]).sides == ("en", "ko")
    for name in ("train.en", "train.de.gz", "other"):
        text = b"a\n"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert read([tmp_path / "train.en", tmp_path / "train.de.gz"]).sides == ("en", "de")
    assert read([tmp_path / "train.en", tmp_path / "other"]).sides == ("", "")


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_rows_are_parsed_as_they_are_asked_for(write: Write, ending: str) -> None:
    """And a fault far behind is found only then: a table larger than memory is never held."""
    lines = ['{"a": "x", "b": "y"}'] * 1000 if ending == ".jsonl" else ["x,y"] * 1000
    file = write(f"data{ending}", "\n".join([*lines, '"']) + "\n")
    problems: list[Problem] = []
    rows = READERS[ending](str(file), problems, False, ()).rows(0, 1)
    assert next(rows) == (1, "x", "y")
    assert not problems
    assert len(list(rows)) == 999
    assert [problem.line for problem in problems] == [1001]


def test_numbers_of_json_are_their_text(write: Write) -> None:
    numbers = ["1.10", "0.00001", "1E2", "100000000000000000000.0", "1" + "0" * 5000]
    path = write("t.jsonl", "".join(f'{{"a": {number}, "b": "x"}}\n' for number in numbers))
    assert read([path]).sources[:] == numbers
    bad = read([write("u.jsonl", '{"a": "y", "b": "x"}\n{"a": NaN, "b": "x"}\n')], skip_bad=True)
    assert told(bad) == [(2, "invalid JSON")]


def test_no_number_in_parquet_is_nothing(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", a=[1.5, float("nan"), None], b=["x", "y", "z"])
    assert read([path]).sources[:] == ["1.5", "", ""]
