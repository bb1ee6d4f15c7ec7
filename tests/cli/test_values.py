"""Options that are more than click's own."""

import pytest

from suguk.cli.values import check_paths, overrides, predict_options, spread_valid
from suguk.config import PredictConfig, assignments
from suguk.errors import ConfigError, UserError

FLAGS = {"--json", "--quiet", "-q"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.en a.de --valid v.en v.de --out r", "a.en a.de --valid v.en --valid v.de --out r"),
        ("a.tsv --valid v.tsv --out r", "a.tsv --valid v.tsv --out r"),
        ("--valid v.tsv a.tsv", "--valid v.tsv a.tsv"),
        ("--valid v.en v.de a.en a.de", "--valid v.en --valid v.de a.en a.de"),
        ("--out r --valid v.tsv a.tsv", "--out r --valid v.tsv a.tsv"),
        ("--json a.tsv --valid v.en v.de", "--json a.tsv --valid v.en --valid v.de"),
        ("--out=r a.tsv --valid v.tsv", "--out=r a.tsv --valid v.tsv"),
        ("a.en --valid v.en v.de a.de", "a.en --valid v.en --valid v.de a.de"),
        ("a.tsv --valid=v.tsv", "a.tsv --valid=v.tsv"),
        ("a.tsv --valid v.en --valid v.de", "a.tsv --valid v.en --valid v.de"),
        ("a.tsv --valid", "a.tsv --valid"),
        ("a.tsv --valid --json", "a.tsv --valid --json"),
        ("a.tsv", "a.tsv"),
    ],
)
def test_valid_takes_one_or_two_paths(given: str, expected: str) -> None:
    assert spread_valid(given.split(), FLAGS) == expected.split()


def test_one_table_or_two_files() -> None:
    check_paths(["a.tsv"])
    check_paths(["a.en", "a.de"])
    with pytest.raises(UserError, match="expected one table or two parallel text files, found 3 paths"):
        check_paths(["a", "b", "c"])


def test_options_become_settings() -> None:
    items = overrides(
        ["model.hidden=7"], train_seed=3, data_header=False, train_device=None, data_source='a "b"'
    )
    assert assignments(items) == {
        "model": {"hidden": 7},
        "train": {"seed": 3},
        "data": {"header": False, "source": 'a "b"'},
    }


def test_prediction_keeps_the_models_settings() -> None:
    base = PredictConfig(beam=3, n_best=2, length_penalty=0.7, max_length=11)
    assert predict_options(base) == base
    changed = predict_options(base, beam=1, length_penalty=0.0, max_length=5)
    assert changed == PredictConfig(beam=1, n_best=1, length_penalty=0.0, max_length=5)
    assert predict_options(base, n_best=13).beam == 13
    told = predict_options(base, settings=["predict.n_best=13"])
    assert (told.beam, told.n_best) == (13, 13)
    several = base.model_copy(update={"n_best": 3})
    assert predict_options(several).n_best == 3
    assert predict_options(several, beam=2).n_best == 2
    assert predict_options(several, n_best=1).n_best == 1


@pytest.mark.parametrize(
    "wrong", [{"beam": 0}, {"beam": 2, "n_best": 3}, {"max_length": 0}, {"length_penalty": -1.0}]
)
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"predict|n_best"):
        predict_options(PredictConfig(), **wrong)  # type: ignore[arg-type]
