"""From files to what training starts from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from suguk import config as settings
from suguk.config import Config
from suguk.data.prepare import Prepared, held_out, parts, prepare
from suguk.errors import ConfigError, DataError

ROWS = [(f"{'abcdefg'[i % 7]} {i} x", f"{i} {'hijkl'[i % 5]}") for i in range(53)]


def table(path: Path, rows: Sequence[tuple[str, ...]]) -> str:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def config(*train: str, valid: tuple[str, ...] = (), **sections: dict[str, Any]) -> Config:
    data = {"train": train, "valid": valid, **sections.pop("data", {})}
    return settings.build({"data": data, **sections})


@pytest.fixture
def train(tmp_path: Path) -> str:
    return table(tmp_path / "train.tsv", ROWS)


class TestParts:
    def test_without_validation_data_a_part_is_split_off(self, train: str) -> None:
        made = prepare(config(train, data={"valid_share": 0.1}))
        assert (len(made.train), len(made.valid)) == (48, 5)
        assert set(made.train.sources).isdisjoint(made.valid.sources)
        assert any("split off" in choice for choice in made.choices)

    def test_the_parts_are_those_that_training_starts_from(self, train: str) -> None:
        asked = config(train, data={"valid_share": 0.1})
        made, found = prepare(asked), parts(asked)
        assert (found.train.sources, found.valid.sources) == (made.train.sources, made.valid.sources)

    def test_validation_data_alone(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("new", "1"), ("newer", "2")])
        asked = config(str(tmp_path / "nowhere.tsv"), valid=(valid,))
        assert held_out(asked).sources == ["new", "newer"]
        bad = table(tmp_path / "bad.tsv", [("new", "1"), ("", "2")])
        with pytest.raises(DataError, match="1 bad pairs"):
            held_out(config(train, valid=(bad,)))
        assert held_out(config(train, valid=(bad,), data={"skip_bad": True})).sources == ["new"]

    def test_validation_data_are_taken_as_they_are(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("new", "1"), ("newer", "2")])
        made = prepare(config(train, valid=(valid,)))
        assert (len(made.train), made.valid.sources[:]) == (53, ["new", "newer"])

    def test_leaks_are_told(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("new", "1"), ROWS[11]])
        text = "\n".join(prepare(config(train, valid=(valid,))).choices)
        assert "warning: 1 validation pairs have a source that is in training too" in text
        assert f"{valid}:2" in text

    def test_duplicates_are_told_and_kept(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", [*ROWS, ROWS[3]])
        made = prepare(config(path))
        assert len(made.train) + len(made.valid) == 54
        assert any("1 duplicate pairs are kept" in choice for choice in made.choices)


class TestFields:
    def test_auto_is_resolved_and_explained(self, train: str) -> None:
        made = prepare(config(train, target={"tokenizer": "char"}))
        assert made.config.source.tokenizer == made.source.kind
        assert made.config.target.tokenizer == made.target.kind == "char"
        assert any("source.tokenizer" in choice for choice in made.choices)

    def test_vocabularies_know_training_text_only(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("Ω", "Ж")])
        sides = {"tokenizer": "char"}
        made = prepare(config(train, valid=(valid,), source=sides, target=sides))
        assert made.source.unknown_rate(["Ω"]) == 1.0
        assert made.target.unknown_rate(["Ж"]) == 1.0
        assert made.source.unknown_rate(made.train.sources) == 0.0

    def test_the_split_off_part_is_not_training_text(self, tmp_path: Path) -> None:
        rows = [(chr(0x4E00 + i), "x") for i in range(97)]
        sides = {"tokenizer": "char"}
        made = prepare(config(table(tmp_path / "t.tsv", rows), source=sides, target=sides))
        assert made.source.unknown_rate(made.valid.sources) == 1.0

    @pytest.mark.parametrize("kind", ["auto", "char", "word"])
    def test_a_shared_vocabulary_is_one_field_of_both_sides(self, train: str, kind: str) -> None:
        made = prepare(config(train, source={"tokenizer": kind}, target={"shared": True}))
        assert made.source is made.target
        assert made.config.source.tokenizer == made.config.target.tokenizer == made.source.kind
        assert made.source.unknown_rate([*made.train.sources, *made.train.targets]) == 0.0

    def test_two_kinds_cannot_be_shared(self, train: str) -> None:
        source, target = {"tokenizer": "char"}, {"tokenizer": "word", "shared": True}
        with pytest.raises(ConfigError, match="one tokenizer, found char and word"):
            prepare(config(train, source=source, target=target))

    def test_lowercase(self, tmp_path: Path) -> None:
        rows = [(f"ABC {i}", f"DEF {i}") for i in range(11)]
        made = prepare(config(table(tmp_path / "t.tsv", rows), data={"lowercase": True}))
        assert made.source.lowercase
        assert made.source.unknown_rate(["abc"]) == 0.0


class TestBadPairs:
    ROWS = (*ROWS, ("", "no source"), ("no target", " "), ("x" * 3001, "long"), ("a", "b", "c"))

    def test_every_one_refuses_the_data(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", list(self.ROWS))
        with pytest.raises(DataError) as caught:
            prepare(config(path))
        assert sorted(problem.line or 0 for problem in caught.value.problems) == [54, 55, 56, 57]
        assert "--skip-bad" in str(caught.value)

    def test_they_are_left_out_and_listed_when_asked(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", list(self.ROWS))
        made = prepare(config(path, data={"skip_bad": True}))
        assert len(made.train) + len(made.valid) == 53
        assert sorted(problem.line or 0 for problem in made.skipped) == [54, 55, 56, 57]
        assert any("4 bad pairs are left out" in choice for choice in made.choices)

    def test_also_those_of_validation(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("new", "1"), ("", "2")])
        with pytest.raises(DataError, match=r"valid\.tsv:2"):
            prepare(config(train, valid=(valid,)))
        assert len(prepare(config(train, valid=(valid,), data={"skip_bad": True})).valid) == 1

    def test_nothing_left(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("", "2")])
        with pytest.raises(DataError, match="no good pair is left"):
            prepare(config(train, valid=(valid,), data={"skip_bad": True}))

    def test_longer_ones_are_taken_when_asked(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", [*ROWS, ("x" * 3001, "long")])
        made = prepare(config(path, data={"max_length": 3001}))
        assert len(made.train) + len(made.valid) == 54

    def test_what_is_too_long_to_be_decoded_is_not_validated_on(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", [*ROWS, ("x" * 20_001, "long")])
        with pytest.raises(DataError, match=r"t\.tsv:\d+.* at most 20,000 are taken") as caught:
            prepare(config(path, data={"max_length": 30_000}))
        assert "data.max_length" not in str(caught.value.hint)

    def test_no_data(self) -> None:
        with pytest.raises(ConfigError, match="no training data"):
            prepare(config())

    def test_one_pair(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="at least two different sources"):
            prepare(config(table(tmp_path / "t.tsv", ROWS[:1])))


class TestColumns:
    def test_the_settings_say_what_was_taken(self, tmp_path: Path) -> None:
        path = table(
            tmp_path / "t.tsv", [("en", "n", "de"), *((source, "1", target) for source, target in ROWS)]
        )
        made = prepare(config(path, data={"source": "3", "target": "en", "header": True}))
        assert made.config.data.columns == made.config.data.names == ("de", "en")
        again = prepare(made.config)
        assert again.fingerprint == made.fingerprint

    def test_files_without_names_tell_nothing(self, train: str) -> None:
        made = prepare(config(train, data={"columns": ["en", "de"]}))
        assert made.config.data.names == ("en", "de")
        assert prepare(config(train)).config.data.names == ("", "")

    def test_known_names_are_taken_where_a_table_has_them(self, tmp_path: Path) -> None:
        path = table(tmp_path / "t.tsv", [("en", "de"), *ROWS])
        by_place, by_name = (
            prepare(config(path, data={"columns": names})) for names in (("a", "b"), ("de", "en"))
        )
        assert {*by_place.train.sources, *by_place.valid.sources} == {source for source, _ in ROWS}
        assert {*by_name.train.targets, *by_name.valid.targets} == {source for source, _ in ROWS}
        assert by_place.config.data.columns == ("en", "de")


class TestFingerprint:
    def prepared(self, path: Path, rows: Sequence[tuple[str, ...]], **sections: Any) -> Prepared:
        return prepare(config(table(path, rows), **sections))

    def test_it_knows_the_same_data_by_another_name(self, tmp_path: Path) -> None:
        one, two = (self.prepared(tmp_path / f"{name}.tsv", ROWS) for name in "ab")
        assert one.fingerprint == two.fingerprint

    @pytest.mark.parametrize(
        "rows",
        [ROWS[:-1], [*ROWS[:-1], (ROWS[-1][0], "other")], [ROWS[1], ROWS[0], *ROWS[2:]]],
        ids=["a pair less", "another target", "another order"],
    )
    def test_it_changes_with_the_data(self, tmp_path: Path, rows: Sequence[tuple[str, ...]]) -> None:
        one, two = self.prepared(tmp_path / "a.tsv", ROWS), self.prepared(tmp_path / "b.tsv", rows)
        assert one.fingerprint != two.fingerprint


class TestSeveralCorpora:
    MORE = tuple((f"more {i} y", f"{i}") for i in range(29))

    def more(self, tmp_path: Path) -> str:
        return table(tmp_path / "more.tsv", self.MORE)

    def test_they_stand_one_after_another(self, train: str, tmp_path: Path) -> None:
        valid = table(tmp_path / "valid.tsv", [("new", "1")])
        parallel = [str(tmp_path / name) for name in ("c.en", "c.de")]
        for side, path in enumerate(parallel):
            Path(path).write_text("".join(f"{'ab'[side]} {i}\n" for i in range(7)), encoding="utf-8")
        also = [[self.more(tmp_path)], parallel]
        made = prepare(config(train, valid=(valid,), data={"also": also, "weights": [1, 0.5, 3]}))
        assert made.parts == (53, 29, 7)
        assert made.train.sources[53:] == [
            *(source for source, _ in self.MORE),
            *(f"a {i}" for i in range(7)),
        ]
        assert made.train.targets[-1] == "b 6"
        assert any("29 pairs, 14 of them in every epoch" in choice for choice in made.choices)
        assert any("7 pairs, 21 of them in every epoch" in choice for choice in made.choices)
        assert made.source.unknown_rate(["more"]) == 0.0  # vocabularies are learned from all

    def test_what_is_split_off_is_in_none_of_them(self, train: str, tmp_path: Path) -> None:
        path = table(tmp_path / "same.tsv", [*ROWS, *self.MORE])
        made = prepare(config(train, data={"also": [[path]], "valid_share": 0.1}))
        assert (len(made.valid), made.parts) == (5, (48, 48 + 29))
        assert set(made.train.sources).isdisjoint(made.valid.sources)
        assert set(made.valid.sources) <= {source for source, _ in ROWS}

    def test_problems_of_all_are_told(self, train: str, tmp_path: Path) -> None:
        path = table(tmp_path / "more.tsv", [*self.MORE, ("", "nothing")])
        with pytest.raises(DataError, match=r"more\.tsv:30"):
            prepare(config(train, data={"also": [[path]]}))
        made = prepare(config(train, data={"also": [[path]], "skip_bad": True}))
        assert made.parts[1] == 29

    def test_the_fingerprint_covers_all(self, train: str, tmp_path: Path) -> None:
        alone = prepare(config(train)).fingerprint
        assert "corpora" not in alone
        found = [alone]
        for rows in (self.MORE, self.MORE[:-1]):
            path = table(tmp_path / "more.tsv", rows)
            found.append(prepare(config(train, data={"also": [[path]]})).fingerprint)
        assert found[0] != found[1] != found[2] != found[0]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"also": [["a", "b", "c"]]}, "found 3 paths"),
            ({"also": [["a.tsv"]], "weights": [1]}, "2 in all, found 1"),
            ({"weights": [1, 2]}, "1 in all, found 2"),
            ({"weights": [0]}, "greater than 0"),
        ],
    )
    def test_settings_that_do_not_go_together(self, data: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            config("a.tsv", data=data)
