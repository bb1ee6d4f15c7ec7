"""Word alignments: from weights that are known, from a model with drawn weights, and against gold ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suguk import asking, config
from suguk.alignment import Alignment, Gold, Link, Quality, align, compare, read_gold
from suguk.answers import Forced, Found, TextPredictor
from suguk.asking import Ids, Reals
from suguk.data.read import Pairs
from suguk.errors import DataError, UserError
from suguk.fields import TextField
from suguk.fields.text import Kind
from tests.trained.test_answers import drawn

Rows = list[list[float]]
PAIRS = [("a b c", "c b"), ("the cat sat on the mat .", "the mat"), ("on", "a, cat!"), ("cat d", "b c d e a")]


class Given(TextPredictor):
    """Looks where it is told. weights: [T, S] of the one pair that it is asked for."""

    def __init__(self, weights: Rows, field: TextField) -> None:
        super().__init__(config.load("luong2015"), field, field)
        self.weights = np.array([weights], dtype=np.float32)

    def _search(self, given: asking.Given) -> Found:
        raise AssertionError(f"aligning does not search: {given}")

    def _contexts(self, source: Ids) -> tuple[Reals, Reals]:
        raise AssertionError(f"aligning asks for no contexts: {source}")

    def _force(
        self, source: Ids, lengths: Ids, target: Ids, copies: Ids | None, *, attention: bool
    ) -> Forced:
        del lengths  # one pair has no padding
        assert copies is None
        assert attention
        assert self.weights.shape == (1, target.shape[1], source.shape[1])
        return Forced(np.zeros(target.shape, dtype=np.float32), self.weights)


def aligned(source: str, target: str, weights: Rows, kind: Kind = "symbols") -> list[tuple[int, int, float]]:
    field = TextField.train(kind, [source, target] * 5, 101)
    (found,) = align(Given(weights, field), [source], [target])
    assert (found.source_words, found.target_words) == (tuple(source.split()), tuple(target.split()))
    return [(link.source, link.target, round(link.weight, 6)) for link in found.links]


def test_a_target_word_goes_with_the_source_word_it_looks_at_most() -> None:
    weights = [[0.1, 0.2, 0.6, 0.1], [0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0]]
    assert aligned("a b c", "x y", weights) == [(0, 1, 0.7), (2, 0, 0.6)]


def test_a_word_that_looks_at_the_end_most_has_no_link() -> None:
    weights = [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]]
    assert aligned("a b", "x y", weights) == [(1, 1, 0.8)]


def test_of_equal_weights_the_first_counts_and_the_end_is_last() -> None:
    weights = [[0.5, 0.5, 0.0], [0.25, 0.375, 0.375], [0.0, 0.0, 1.0]]
    assert aligned("a b", "x y", weights) == [(0, 0, 0.5), (1, 1, 0.375)]


def test_a_word_that_looks_nowhere_has_no_link() -> None:
    """As with the window of local attention beyond a short source."""
    assert aligned("a b", "x y", [[0.0, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.0]]) == [(1, 1, 0.9)]


def test_tokens_of_a_source_word_add_up_and_those_of_a_target_word_are_averaged() -> None:
    # source: a b ␣ c <eos>; target: x ␣ y z <eos>
    weights = [
        [0.3, 0.3, 0.0, 0.4, 0.0],  # the single token c has most, but the word ab more
        [0.0, 0.0, 0.0, 0.0, 1.0],
        [0.1, 0.0, 0.5, 0.3, 0.1],  # what goes to the space goes to no word
        [0.3, 0.1, 0.0, 0.5, 0.1],
        [1.0, 0.0, 0.0, 0.0, 0.0],
    ]
    assert aligned("ab c", "x yz", weights, "char") == [(0, 0, 0.6), (1, 1, 0.4)]


def test_the_end_is_compared_with_whole_words() -> None:
    weights = [[0.3, 0.3, 0.4], [0.0, 0.0, 1.0]]
    assert aligned("ab", "x", weights, "char") == [(0, 0, 0.6)]


def test_a_piece_of_two_words_gives_each_its_part() -> None:
    # The no-break space is within a piece, which is the one token of two words: ▁10␣000 ▁of <eos>.
    text = "10\u00a0000 of"
    weights = [[0.5, 0.3, 0.2], [0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]
    assert aligned(text, text, weights, "bpe") == [(0, 2, 0.35), (2, 0, 0.3), (2, 1, 0.3)]


def test_texts_without_words() -> None:
    field = TextField.train("symbols", ["a"], 11)
    assert align(Given([[1.0]], field), [""], [""]) == [Alignment((), (), ())]
    assert align(Given([[1.0], [1.0]], field), [" "], ["a"]) == [Alignment((), ("a",), ())]
    assert align(Given([[0.5, 0.5]], field), ["a"], [""]) == [Alignment(("a",), (), ())]


def test_no_pairs() -> None:
    assert align(drawn(), [], []) == []


def test_where_tokens_are_words_the_largest_weight_counts() -> None:
    model = drawn("symbols")
    sources, targets = [source for source, _ in PAIRS], [target for _, target in PAIRS]
    links = 0
    for found, shown in zip(align(model, sources, targets), model.attend(sources, targets), strict=True):
        end = len(shown.source_tokens) - 1
        best = shown.weights[:-1].argmax(1).tolist()
        wanted = sorted((i, j) for j, i in enumerate(best) if i != end)
        assert [(link.source, link.target) for link in found.links] == wanted
        for link in found.links:
            assert link.weight == pytest.approx(float(shown.weights[link.target, link.source]), abs=1e-6)
        links += len(wanted)
    assert links > 0


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "unigram"])
def test_links_are_of_words_whatever_the_tokens_are(kind: str) -> None:
    model = drawn(kind)
    together = align(model, [source for source, _ in PAIRS], [target for _, target in PAIRS])
    for (source, target), found in zip(PAIRS, together, strict=True):
        (alone,) = align(model, [source], [target])
        assert [link[:2] for link in alone.links] == [link[:2] for link in found.links]
        assert [link[:2] for link in found.links] == sorted(link[:2] for link in found.links)
        assert len({link.target for link in found.links}) == len(found.links)
        for link in found.links:
            assert 0 <= link.source < len(source.split())
            assert 0 <= link.target < len(target.split())
            assert 0 < link.weight <= 1 + 1e-5


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(UserError, match="no attention"):
        align(drawn(recipe="cho2014"), ["a"], ["b"])


def made(*links: tuple[int, int]) -> Alignment:
    return Alignment((), (), tuple(Link(*link, 1.0) for link in links))


def wanted(sure: set[tuple[int, int]], possible: set[tuple[int, int]] | None = None) -> Gold:
    return Gold(frozenset(sure), frozenset(sure | (possible or set())))


def test_error_rate_precision_and_recall_by_hand() -> None:
    # Two pairs: A = 2 + 1, S = 1 + 1; of the links one is sure, and one more is possible.
    found = [made((0, 0), (2, 2)), made((1, 0))]
    quality = compare(found, [wanted({(0, 0)}, {(2, 1), (2, 2)}), wanted({(1, 1)})])
    assert quality == Quality(links=3, sure=2, links_sure=1, links_possible=2)
    assert quality.precision == pytest.approx(2 / 3)
    assert quality.recall == pytest.approx(1 / 2)
    assert quality.error_rate == pytest.approx(1 - (1 + 2) / (3 + 2))


def test_a_possible_link_is_never_wrong_and_never_missing() -> None:
    gold = [wanted({(0, 0)}, {(1, 1), (2, 2)})]
    for links in ([(0, 0)], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)]):
        assert compare([made(*links)], gold).error_rate == 0
    assert compare([made((1, 1))], gold).error_rate == pytest.approx(1 - (0 + 1) / (1 + 1))


@pytest.mark.parametrize(
    ("found", "gold", "figures"),
    [
        (made(), wanted(set()), (1.0, 1.0, 0.0)),
        (made(), wanted({(0, 0)}), (1.0, 0.0, 1.0)),
        (made((0, 0)), wanted(set()), (0.0, 1.0, 1.0)),
        (made((0, 0)), wanted(set(), {(0, 0)}), (1.0, 1.0, 0.0)),
    ],
)
def test_where_there_are_no_links(found: Alignment, gold: Gold, figures: tuple[float, ...]) -> None:
    quality = compare([found], [gold])
    assert (quality.precision, quality.recall, quality.error_rate) == figures


def test_counts_add_up() -> None:
    gold = [wanted({(0, 0)}), wanted({(1, 1)}, {(0, 1)}), wanted(set())]
    found = [made((0, 0), (1, 0)), made((0, 1)), made()]
    parts = [compare([one], [other]) for one, other in zip(found, gold, strict=True)]
    assert sum(parts, Quality()) == compare(found, gold)
    with pytest.raises(ValueError, match="shorter"):
        compare(found, gold[:2])


@pytest.fixture
def pairs() -> Pairs:
    """Three pairs of (2, 3), (1, 1) and (2, 2) words."""
    pairs = Pairs(("pairs.tsv",))
    for line, (source, target) in enumerate((("a b", "x y z"), ("c", "w"), ("d e", "v u")), start=2):
        pairs.add(line, source, target)
    return pairs


def written(folder: Path, content: Any) -> Path:
    path = folder / "gold"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_gold_alignments(tmp_path: Path, pairs: Pairs) -> None:
    found = read_gold(written(tmp_path, "0-0 1?2\t0?0\r\n\n 1-0  1-0 0?1 \n"), pairs)
    assert found == [wanted({(0, 0)}, {(1, 2)}), wanted(set()), wanted({(1, 0)}, {(0, 1)})]
    from_one = read_gold(written(tmp_path, "1-1 2?3 1?1\n\n2-1 1?2"), pairs, first=1)
    assert from_one == found


def refused(path: Path, pairs: Pairs, first: int = 0) -> DataError:
    with pytest.raises(DataError) as caught:
        read_gold(path, pairs, first)
    return caught.value


def test_every_link_that_cannot_be_is_told(tmp_path: Path, pairs: Pairs) -> None:
    path = written(tmp_path, "0-0 2-0 0-3\n0:0 1?1\n-1-0 1-1-1 1- 0-0\n")
    fault = refused(path, pairs)
    assert [(problem.path, problem.line) for problem in fault.problems] == [
        (str(path), line) for line in (1, 1, 2, 2, 2, 3, 3, 3)
    ]
    text = str(fault)
    assert "8 problems in gold alignments" in text
    assert "gold:1: 2-0: no source word 2; the source has 2, counted from 0" in text
    assert "gold:1: 0-3: no target word 3; the target has 3, counted from 0" in text
    assert "gold:2: expected a link such as 0-0 or 0?0, found '0:0'" in text
    assert "hint: one line for each pair" in text


def test_zero_is_no_index_where_they_count_from_one(tmp_path: Path, pairs: Pairs) -> None:
    fault = refused(written(tmp_path, "2-3\n0-1\n\n"), pairs, first=1)
    assert [str(problem).partition("gold:")[2] for problem in fault.problems] == [
        "2: 0-1: no source word 0; the source has 1, counted from 1"
    ]


def test_another_number_of_lines(tmp_path: Path, pairs: Pairs) -> None:
    fault = refused(written(tmp_path, "0-0\n\n"), pairs)
    assert (fault.problems[0].path, fault.problems[0].line) == ("pairs.tsv", 4)
    assert "a line for each of the 3 pairs is needed, found 2 lines" in str(fault)
    fault = refused(written(tmp_path, "0-0\nx\n\n0-0\n0-0\n"), pairs)
    assert [problem.line for problem in fault.problems] == [4, 2]
    assert "found 5 lines" in str(fault)
    assert "--skip-bad" in str(fault)


def test_a_file_that_is_no_text(tmp_path: Path, pairs: Pairs) -> None:
    fault = refused(written(tmp_path, b"0-0\n0-0 \xff\n0-9\n"), pairs)
    assert [problem.line for problem in fault.problems] == [2, 3]
    assert "not valid UTF-8: 0xff at byte 5" in str(fault)


def test_a_file_that_is_not_there_or_empty(tmp_path: Path, pairs: Pairs) -> None:
    for path in (tmp_path / "nowhere", written(tmp_path, "")):
        assert str(path) in str(fault := refused(path, pairs))
        assert "one line for each pair" in str(fault)
        assert "tab" not in str(fault)
