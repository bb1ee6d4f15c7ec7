"""What record.py trains: data, recipe, settings, and what to compare with.

Files are relative to the data folder; those that begin with MADE to what convert.py made. Comments say what to
try first, on validation; a choice becomes a setting here when its figures say so.
"""

from typing import NamedTuple

MADE = "made/"


class Run(NamedTuple):
    """What is trained, with which settings, and what it is tested on.

    read: options of both verbs, about the data; evaluate: options of evaluation; also: more training data, two parallel
    files or a table; beside: the published figure and the goal.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    recipe: str | None
    settings: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    beside: str = ""


def timed(minutes: int) -> tuple[str, ...]:
    """The clock alone ends the training."""
    return (f"train.minutes={minutes}", "train.epochs=1000", "train.early_stopping=0")


def multi30k(source: str, target: str, recipe: str, *settings: str, beside: str = "") -> Run:
    def files(split: str) -> tuple[str, ...]:
        return tuple(f"multi30k/{split}.{side}" for side in (source, target))

    return Run(
        files("train"),
        files("val"),
        files("test_2016_flickr"),
        recipe,
        ("data.lowercase=true", *settings),
        evaluate=("--lowercase",),
        beside=beside,
    )


def table(
    name: str,
    recipe: str | None,
    *settings: str,
    read: tuple[str, ...] = (),
    evaluate: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    beside: str = "",
) -> Run:
    """train.tsv, valid.tsv and test.tsv of one folder."""
    train, valid, test = ((f"{name}/{split}.tsv",) for split in ("train", "valid", "test"))
    return Run(train, valid, test, recipe, settings, read, evaluate, also, beside)


# Translation. Multi30k, En→De: what half an hour lacks is updates, so `small` has the size of the published model
# (RESULTS, section 2). With dropout 0.4 it learns too slowly for half an hour; BPE dropout is far behind after three
# epochs; a wider beam gains nothing, nor do sources written by `multi30k-de-en-small` beside the real ones in half
# an hour (docs/log.md). Try next: these for an hour.
RARELY = "train.valid_every=5"
CAPTIONS = "39.0 tokenised, lowercased (lium-lst/wmt17-mmt); goal "
TRANSLATION = {
    # On a GPU, or for two hours of two cores: an epoch is a matter of seconds there, so it is validated less often.
    "multi30k-en-de": multi30k("en", "de", "medium", *timed(60), RARELY, beside=f"{CAPTIONS}40.5"),
    "multi30k-en-fr": multi30k("en", "fr", "medium", *timed(60), RARELY, beside="59.02; goal 55, aim 59.5"),
    "multi30k-de-en": multi30k(
        "de", "en", "medium", *timed(60), RARELY, beside="28.1 greedy (bentrevett/pytorch-seq2seq)"
    ),
    "multi30k-small": multi30k("en", "de", "small", *timed(30), beside=f"{CAPTIONS}38"),
    "multi30k-en-fr-small": multi30k("en", "fr", "small", *timed(30), beside="59.02; goal 55, aim 59.5"),
    "multi30k-de-en-small": multi30k(
        "de", "en", "small", *timed(30), beside="28.1 greedy (bentrevett/pytorch-seq2seq)"
    ),
    # 112,000 short pairs: dropout 0.2 and larger batches if validation is still rising when the time is up.
    "spa-eng": table("spa-eng", "small", *timed(60)),
    "spa-eng-medium": table("spa-eng", "medium", *timed(60), RARELY, "model.dropout=0.3", "train.batch_tokens=8192"),
    # Verses are three times as long as captions. A Korean word has many forms: smaller vocabularies
    # (4,000), sampling=0.1.
    "en-ko-bible": table("en-ko-bible", "small", *timed(60), evaluate=("--tokenize", "char")),
    # 3,225 pairs are too few alone; the verses lend them vocabulary. Try weights 10,0.3 and fine-tuning
    # (`--from`).
    "en-ko-tatoeba": table(
        "en-ko-tatoeba", "small", *timed(60), "data.weights=[5, 0.5]",
        also=("en-ko-bible/train.tsv",), evaluate=("--tokenize", "char"),
    ),
}  # fmt: skip

# Dialogue. Many answers fit a question, so BLEU says little; look at perplexity and at outputs. Try dropout
# 0.4, unigram tokens of 4,000, and mbr=chrf against answers that fit everything.
DIALOGUE = {
    "chatbot-ko": table("chatbot-ko", "small", *timed(20), "model.dropout=0.4", evaluate=("--tokenize", "char")),
}  # fmt: skip

# Code. Names and numbers of one line only are what is wrong most. Sizes, rate, batches and smoothing of `code` are what
# an hour of `suguk tune` found for NL2Bash (RESULTS). Try next: dropout 0.2 and 0.4 for Django, whose BLEU is lost in a
# few long lines. Its code is published in tokens, so its BLEU takes them as they are.
PLAIN = ("--tokenize", "none")
CODE = {
    "django-code": table(
        "django", "code", *timed(30), "train.valid_metric=exact", evaluate=PLAIN,
        beside="by rows: exact 45.1, BLEU 63.4 (Yin & Neubig 2017, attention)",
    ),
    "nl2bash": table(
        "nl2bash", "code", *timed(30), "train.valid_metric=bleu",
        beside="BLEU 50.9, another split and definition (Lin et al. 2018)",
    ),
}  # fmt: skip

# Summarisation: a line of code to its description, and reports cut to so many sentences with what was never
# seen before.
SUMMARISATION = {
    "django-describe": table(
        "django", "code", *timed(30), "train.valid_metric=bleu", read=("--source", "code", "--target", "text")
    ),
    "reports": table(f"{MADE}reports", "code", *timed(15), "train.valid_metric=exact"),
}

# Pronunciation. `exact` is 100 - WER; any of a word's pronunciations is right. CMUdict came to WER 27.7 on
# test in 30 minutes. A conditional GRU is better after four epochs with a falling rate, and behind after seven at a
# constant one (RESULTS). Try next: hidden 512; three encoder layers; recurrent_dropout 0.2; variational_dropout; an
# ensemble of the three seeds.
# SIGMORPHON: 8,000 words a language learn by heart within minutes. Try first: dropout 0.4 and 0.5, hidden
# 256, zoneout 0.1, ema 0.999, label_smoothing 0.2; Vietnamese in NFD (tones apart), as Korean in jamo is.
LANGUAGES = ("arm_e", "bul", "dut", "fre", "geo", "hun", "jpn_hira", "vie_hanoi")
FEW = (*timed(12), "train.batch_tokens=768", "train.ema=0.999", "train.valid_every=5", "model.dropout=0.4")


def sigmorphon(language: str, *settings: str, beside: str) -> Run:
    """The files as published: no header."""
    train, valid, test = (
        (f"sigmorphon2021-g2p/{language}_{split}.tsv",) for split in ("train", "dev", "test")
    )
    return Run(train, valid, test, recipe="chars", settings=settings, read=("--no-header",), beside=beside)


PRONUNCIATION = {
    "cmudict-chars": table("cmudict", "chars", "train.minutes=30", beside="goal: WER 23, aim 21.5"),
    "cmudict": table("cmudict", "chars", *timed(60), beside="goal: WER 23, aim 21.5"),
    "cmudict-nostress": table(
        f"{MADE}cmudict-nostress",
        "chars",
        *timed(60),
        beside="WER 22.2 (cmusphinx/g2p-seq2seq); goal 23, aim 21.5; five together 20.2",
    ),
    "g2p-eng_us": sigmorphon("eng_us", *timed(30), "model.dropout=0.4", beside="goal: WER 41.9"),
    **{
        f"g2p-{name}": sigmorphon(name, *FEW, beside="goal: mean WER of nine languages 10.6")
        for name in LANGUAGES
    },
    "g2p-kor": table(f"{MADE}g2p-kor", "chars", *FEW, beside="goal: mean WER of nine languages 10.6"),
}

# Inflection of lemmas that training has not seen, tags before letters. A form is mostly its lemma: copying. The
# size was chosen on German, validation: 62.0 % after 5.8 epochs with 256 hidden units and dropout 0.3, where 384 units
# with 0.4 had 56.9 after 5 and 69.3 after 7. Try next: attention after the cell (`attend=after`, `input_feeding=true`,
# `readout_word=false`), dropout 0.3 and 0.5, word_dropout 0.05.
RULES = {
    "deu": 79.8,
    "eng": 96.6,
    "fra": 77.7,
    "hun": 74.7,
    "rus": 86.0,
    "spa": 87.8,
}  # accuracy on test, see RESULTS
INFLECTION = {
    f"inflection-{language}": table(
        f"{MADE}inflection-{language}", "inflection", *timed(20),
        beside=f"rules {RULES[language]} (organisers' baseline); goal 75, aim 85",
    )
    for language in ("deu", "eng", "fra", "hun", "rus", "spa")
}  # fmt: skip

# Names to Hangul, as syllables and as jamo. The data are noisy (`eigo` is 세 키 네): label_smoothing 0.2,
# dropout 0.4.
NAMES = {
    "names-syllables": table("names-en-ko", "chars", *timed(20)),
    "names-jamo": table(f"{MADE}names-jamo", "chars", *timed(20)),
}

# SCAN. Outputs of the length split go on to 48 actions where training ends at 22. Lake & Baroni 2018
# searched over cells, one or two layers, 25 to 400 units, dropout 0 to 0.5, with attention and without;
# small was better for length. So: model.hidden=50 and 100, dropout 0.1, 0.3 and 0.5, one layer;
# valid_metric=perplexity, as exact on validation (no longer than training) is 100 soon and says nothing
# more; attention=location or local-m.
SCAN = {
    "scan-simple": table(f"{MADE}scan-simple", "tiny", *timed(15), beside="99.8 (Lake & Baroni 2018)"),
    "scan-length": table(
        f"{MADE}scan-length", "tiny", *timed(15), "model.hidden=50", "model.dropout=0.5",
        beside="13.8 to 20.8 (Lake & Baroni 2018); goal 20.8",
    ),
    "scan-jump": table(f"{MADE}scan-jump", "tiny", *timed(15), beside="1.2 (Lake & Baroni 2018)"),
}  # fmt: skip

# Sums and dates of Deep Learning from Scratch 2.
VARIANTS = {
    "plain": (),
    "reversed": ("model.reverse_source=true",),
    "reversed-peeky": ("model.reverse_source=true", "model.context=every-step"),
    "attention": ("model.attention=dot",),
}
PUBLISHED = {"plain": "about 10", "reversed": "about 54", "reversed-peeky": "about 98", "attention": ""}
SUMS = {
    # The book's constant rate jumps about at the end.
    "addition-long": table(
        "addition",
        "sums",
        "train.epochs=50",
        "train.lr=0.003",
        "train.schedule=linear",
        *VARIANTS["reversed-peeky"],
        beside="about 98 (25 epochs); goal 98, aim 99.9",
    ),
    **{
        f"addition-{name}": table("addition", "sums", "train.epochs=25", *more, beside=PUBLISHED[name])
        for name, more in VARIANTS.items()
    },
    **{
        f"date-{name}": table(
            "date",
            "sums",
            "train.epochs=10",
            *more,
            beside="about 100" if name == "attention" else "goal 99.9",
        )
        for name, more in VARIANTS.items()
    },
}

# Papers. Sizes and vocabularies scaled down to 29,000 pairs, and little time spent on validation; all else
# is theirs.
PAPER = (
    "model.hidden=256", "train.minutes=10", "train.epochs=1000", "train.batch_tokens=1024", "train.early_stopping=0",
    "train.valid_samples=100", "train.valid_every=2", "source.vocab_size=8000", "target.vocab_size=8000",
    "predict.max_length=60",
)  # fmt: skip
WIDE, MAXOUT = "model.embedding=256", "model.readout_size=128"
PAPERS = {
    "multi30k-sutskever2014": multi30k("en", "de", "sutskever2014", *PAPER, WIDE),
    "multi30k-cho2014": multi30k("en", "de", "cho2014", *PAPER, MAXOUT),
    "multi30k-bahdanau2014": multi30k("en", "de", "bahdanau2014", *PAPER, WIDE, MAXOUT),
    "multi30k-luong2015": multi30k("en", "de", "luong2015", *PAPER, WIDE),
    "multi30k-luong2015-local-p": multi30k("en", "de", "luong2015-local-p", *PAPER, WIDE),
}

# Is bfloat16 harmless? The same few epochs in both, with `--seeds 1 2 3`, scored on validation: it decides
# something.
PRECISION = {
    f"precision-{task}-{precision}": run._replace(
        settings=(*run.settings, "train.schedule=linear", f"train.precision={precision}")
    )
    for task, run in {
        "multi30k": multi30k("en", "de", "small", "train.epochs=5"),
        "cmudict": table("cmudict", "chars", "train.epochs=4"),
    }.items()
    for precision in ("bf16", "fp32")
}

# Published as means over languages.
MEANS = {
    "mean of nine languages": tuple(f"g2p-{name}" for name in (*LANGUAGES, "kor")),
    "mean of six languages": tuple(INFLECTION),
}

RUNS: dict[str, Run] = {
    **TRANSLATION, **DIALOGUE, **CODE, **SUMMARISATION, **PRONUNCIATION, **INFLECTION, **NAMES, **SCAN, **SUMS,
    **PAPERS, **PRECISION,
}  # fmt: skip
