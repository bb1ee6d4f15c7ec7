"""Known values, sacrebleu's own functions, and properties that any such metric has."""

import subprocess
import sys
import unicodedata
from typing import get_args

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from suguk.config import Metric
from suguk.errors import MissingExtra, UserError
from suguk.evaluation.metrics import METRICS, TOKENIZE, better, corpus, sentence_chrf

OUTPUTS = ["the cat is on the mat", "There is a Dog in the garden .", "hello world how are you", "a b c d"]
REFERENCES = [
    ["the cat sat on the mat", "a cat is on the mat"],
    ["there is a dog in the garden .", "a dog is in the garden ."],
    ["hello world how are you", "hi world"],
    ["a b c e", "d c b a"],
]
LINE = st.text(alphabet="ab cé수😀", max_size=11)


def score(name: str, output: str, *references: str, lowercase: bool = False) -> float:
    return corpus([output], [list(references)], [name], lowercase=lowercase)[name].score


def test_the_settings_know_the_same_metrics() -> None:
    assert set(get_args(Metric)) == {*METRICS, "auto", "perplexity"}


@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_chrf_and_ter_are_sacrebleus(lowercase: bool) -> None:
    streams = [list(stream) for stream in zip(*REFERENCES, strict=True)]
    values = corpus(OUTPUTS, REFERENCES, ["bleu", "chrf", "ter"], lowercase=lowercase)
    bleu = sacrebleu.corpus_bleu(OUTPUTS, streams, lowercase=lowercase)
    if lowercase:
        chrf = sacrebleu.CHRF(lowercase=True).corpus_score(OUTPUTS, streams)
    else:
        chrf = sacrebleu.corpus_chrf(OUTPUTS, streams)
    ter = sacrebleu.corpus_ter(OUTPUTS, streams, case_sensitive=not lowercase)
    assert values["bleu"].score == bleu.score
    assert values["chrf"].score == chrf.score
    assert values["ter"].score == ter.score
    case = "lc" if lowercase else "mixed"
    version = sacrebleu.__version__
    assert values["bleu"].signature == f"BLEU|nrefs:2|case:{case}|eff:no|tok:13a|smooth:exp|version:{version}"
    assert values["chrf"].signature.startswith(f"chrF2|nrefs:2|case:{case}|")
    assert values["ter"].signature.startswith(f"TER|nrefs:2|case:{case}|tok:tercom|")


def test_bleu_by_hand() -> None:
    # Matches of 1- to 4-grams: 5/6, 3/5, 2/4, 1/3; equal lengths, so no brevity penalty.
    expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert score("bleu", "a b c d x e", "a b c d e f") == pytest.approx(expected)


def test_the_number_of_references_may_vary() -> None:
    ragged = [REFERENCES[0], REFERENCES[1][:1], REFERENCES[2], [*REFERENCES[3], "a b c d"]]
    values = corpus(OUTPUTS, ragged, METRICS)
    assert all("|nrefs:var|" in value.signature for value in values.values())
    assert values["exact"].score == 50
    # The same as repeating a reference, which changes neither matches nor the closest length.
    even = [group + group[-1:] * (3 - len(group)) for group in ragged]
    repeated = corpus(OUTPUTS, even, METRICS)
    for name in ("bleu", "chrf", "exact", "cer", "wer", "per"):
        assert values[name].score == pytest.approx(repeated[name].score), name


def test_a_later_source_may_have_more_references_than_the_first() -> None:
    values = corpus(["x y z w", "a b c d"], [["x y z w"], ["q", "a b c d"]], METRICS)
    assert [round(value.score, 9) for value in values.values()] == [
        100, 100, pytest.approx(0), 100, 0, 0, 0
    ]  # fmt: skip


def test_already_tokenised_text_is_left_alone() -> None:
    tokenised = corpus(["don 't stop it , now ."], [["don't stop it, now."]], ["bleu"])["bleu"]
    same = corpus(["a b-c d, e"], [["a b-c d, e"]], ["bleu"], tokenize="none")["bleu"]
    characters = corpus(["수국꽃이다"], [["수국꽃이다"]], ["bleu"], tokenize="char")["bleu"]
    assert tokenised.score < 100
    assert same.score == pytest.approx(100)
    assert "|tok:none|" in same.signature
    assert characters.score == pytest.approx(100)
    assert "|tok:char|" in characters.signature


def test_effective_order_lets_short_texts_score() -> None:
    short, group = ["hello there"], [["hello there"]]
    assert corpus(short, group, ["bleu"])["bleu"].score == 0
    effective = corpus(short, group, ["bleu"], effective_order=True)["bleu"]
    assert effective.score == pytest.approx(100)
    assert "|eff:yes|" in effective.signature


def test_exact_ignores_outer_spaces_and_normal_forms() -> None:
    assert score("exact", " cafe\u0301 ", "caf\u00e9") == 100
    assert score("exact", "수국", "\u1109\u116e\u1100\u116e\u11a8") == 100
    assert score("exact", "a  b", "a b") == 0
    assert score("exact", "Yes", "no", "yes") == 0
    assert score("exact", "Yes", "no", "yes", lowercase=True) == 100


def test_error_rates_by_hand() -> None:
    # kitten → sitting: two substitutions and one insertion.
    assert score("cer", "kitten", "sitting") == pytest.approx(100 * 3 / 7)
    assert score("cer", "a b", "ab") == 50  # the space is a character
    assert score("wer", "the cat sat", "the black cat sat down") == pytest.approx(100 * 2 / 5)
    assert score("wer", "a  b\u3000c", "a b c") == 0
    assert score("per", "HH AY1 D R", "HH AY0 D R EY1") == pytest.approx(100 * 2 / 5)
    assert score("wer", "a b c d e", "a") == 400  # insertions count


def test_error_rates_are_pooled_over_the_corpus() -> None:
    # 1 edit over 1 word and 0 over 4: a mean over sentences would give 50.
    assert corpus(["x", "a b c d"], [["y"], ["a b c d"]], ["wer"])["wer"].score == 20


def test_the_reference_with_the_lowest_rate_counts() -> None:
    # 1 edit of 2 words against 2 edits of 8: the second is closer in rate, though not in edits.
    long = "a b c d e f g h"
    value = corpus(["a b c d e f"], [["a b c d e f g h i", long]], ["wer"])["wer"]
    assert value.score == pytest.approx(100 * 2 / 8)
    assert score("wer", "a b c d e f", "a b c d e", long) == pytest.approx(100 * 1 / 5)
    assert score("cer", "abc", "xyz", "abd", "ab") == pytest.approx(100 / 3)


def test_symbols_keep_their_case() -> None:
    assert score("wer", "S s", "s s", lowercase=True) == 0
    lowered = corpus(["S s"], [["s s"]], ["per", "wer"], lowercase=True)
    assert lowered["per"].score == 50
    assert "|case:mixed|" in lowered["per"].signature
    assert "|case:lc|" in lowered["wer"].signature
    assert lowered["wer"].signature.split("|")[:2] == ["wer", "nrefs:1"]
    assert "|version:suguk " in lowered["wer"].signature


def test_empty_texts() -> None:
    nothing = corpus([""], [[""]], METRICS)
    assert nothing["exact"].score == 100
    assert [nothing[name].score for name in ("ter", "cer", "wer", "per")] == [0, 0, 0, 0]
    assert score("cer", "abc", "") == 100
    assert score("cer", "", "abc") == 100
    assert score("wer", "a b", "", "a c") == 50  # any reference with symbols is closer than an empty one
    assert corpus(["", "a b c d"], [[""], ["a b c d"]], METRICS)["bleu"].score == pytest.approx(100)


@settings(max_examples=50, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=5))
def test_identity_makes_no_errors(lines: list[str]) -> None:
    values = corpus(lines, [[line] for line in lines], ["exact", "cer", "wer", "per", "ter"])
    assert values.pop("exact").score == 100
    assert all(value.score == 0 for value in values.values())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(LINE, LINE, LINE), min_size=1, max_size=5))
def test_scores_stay_in_range_and_order_does_not_matter(rows: list[tuple[str, str, str]]) -> None:
    outputs = [row[0] for row in rows]
    groups = [list(row[1:]) for row in rows]
    values = corpus(outputs, groups, METRICS)
    back = corpus(outputs[::-1], [group[::-1] for group in groups[::-1]], METRICS)
    for name, value in values.items():
        assert value.score >= 0
        assert value.score <= 100 + 1e-9 or better(name) < 0
        if name in ("bleu", "exact", "ter"):
            assert back[name].score == pytest.approx(value.score)


@settings(max_examples=50, deadline=None)
@given(LINE, LINE, LINE)
def test_another_reference_never_raises_the_error_rate_of_one_output(output: str, one: str, two: str) -> None:
    for name in ("cer", "wer", "per"):
        assert score(name, output, one, two) <= score(name, output, one) + 1e-9 or not one.strip()


def test_sentence_chrf() -> None:
    scores = sentence_chrf(["abc def", "xyz"], [["abc def", "q"], ["abc"]])
    assert scores == [pytest.approx(100), 0]
    assert sentence_chrf(["ABC"], [["abc"]], lowercase=True) == [pytest.approx(100)]
    expected = sacrebleu.sentence_chrf(OUTPUTS[0], REFERENCES[0]).score
    assert sentence_chrf(OUTPUTS[:1], REFERENCES[:1]) == [expected]


def test_which_way_is_better() -> None:
    assert [better(name) for name in METRICS] == [1, 1, -1, 1, -1, -1, -1]
    assert better("perplexity") == -1
    with pytest.raises(UserError, match="did you mean chrf"):
        better("chfr")


def test_mistakes_are_explained() -> None:
    with pytest.raises(UserError, match=r"unknown metric 'BLUE'.*\n.*did you mean bleu"):
        corpus(["a"], [["a"]], ["BLUE"])
    with pytest.raises(UserError, match="unknown metric 'perplexity'"):
        corpus(["a"], [["a"]], ["perplexity"])
    with pytest.raises(UserError, match="unknown tokenisation of BLEU 'moses'"):
        corpus(["a"], [["a"]], ["bleu"], tokenize="moses")
    with pytest.raises(UserError, match="each of 3 outputs, found references for 2"):
        corpus(["a", "b", "c"], [["a"], ["b"]], ["bleu"])
    with pytest.raises(UserError, match="nothing to evaluate"):
        corpus([], [], ["bleu"])
    with pytest.raises(UserError, match=r"one or more references for number 2, found \[\]"):
        corpus(["a", "b"], [["a"], []], ["bleu"])
    with pytest.raises(UserError, match="a list of one or more references for number 1, found 'ab'"):
        corpus(["a"], ["ab"], ["bleu"])


@pytest.mark.parametrize("tokenize", [name for name in TOKENIZE if "mecab" not in name])
def test_every_tokenisation_works(tokenize: str) -> None:
    assert corpus(["a b c d"], [["a b c d"]], ["bleu"], tokenize=tokenize)["bleu"].score == pytest.approx(100)


def test_a_tokenisation_that_needs_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mecab_ko", None)
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ko_mecab", raising=False)
    with pytest.raises(UserError, match=r"pip install 'sacrebleu\[ko\]'"):
        corpus(["가"], [["가"]], ["bleu"], tokenize="ko-mecab")


@pytest.mark.parametrize(
    ("package", "metric"), [("sacrebleu.metrics.bleu", "bleu"), ("rapidfuzz.distance", "cer")]
)
def test_without_the_extra_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, metric: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'suguk\[train\]'"):
        corpus(["a"], [["a"]], [metric])


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, suguk.evaluation.report, suguk.explain.heatmap, suguk.explain.curves;"
        "print(sorted({'torch', 'sacrebleu', 'rapidfuzz', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", METRICS)
def test_composed_and_decomposed_letters_are_equal(name: str) -> None:
    text = "el café está aquí, señor"
    decomposed = unicodedata.normalize("NFD", text)
    assert score(name, text, decomposed) == score(name, decomposed, text) == score(name, text, text)
    assert sentence_chrf([text], [[decomposed]]) == sentence_chrf([text], [[text]])
