"""The comparison with other toolkits: what does not need them installed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.peers import compare, contestants, install, prepare, textbook
from benchmarks.peers.contestants import CONTESTANTS, Job

PEERS = [name for name, entry in CONTESTANTS.items() if entry.kind not in ("ours", "textbook")]
CLOCK = contestants.HERE / "clock.py"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "peers", tmp_path / "DATA", tmp_path, tmp_path / "job.toml", seed=7)


@pytest.mark.parametrize("name", PEERS)
def test_the_settings_of_a_peer_are_filled_in(name: str, job: Job) -> None:
    *_, file = contestants.command(name, job)
    text = Path(file).read_text(encoding="utf-8")
    assert "$" not in text
    assert f"{job.folder}/data/" in text
    assert "seed: 7" in text or "seed_everything: 7" in text
    assert name in install.PEERS
    assert contestants.python(name, job.folder) == str(job.folder / "venvs" / name / "bin" / "python")


def test_ours_is_started_as_a_user_would(job: Job) -> None:
    words = contestants.command("ours-fp32", job)
    assert words[:2] == ["suguk", "train"]
    assert "train.precision=fp32" in words
    assert contestants.python("ours", job.folder) == sys.executable


def test_every_install_takes_the_same_torch() -> None:
    for name in PEERS:
        steps = install.steps(name)
        assert steps[0][:2] == ["install", install.TORCH]
        assert all(
            install.TORCH in step for step in steps if step[0] == "install" and "--no-deps" not in step
        )


def test_the_end_of_a_sentence_counts_as_a_token() -> None:
    assert prepare.counts(["a b", "c"] * 65) == {"pairs": 130, "target_tokens": 325, "updates": 3}


def row(name: str, repeat: int, ms: float) -> dict[str, Any]:
    stamps = [5.0 + ms / 1000 * i for i in range(compare.SKIP + 4)]
    record = {
        "name": name,
        "repeat": repeat,
        "stamps": stamps,
        "peak_mb": 100.0,
        "workers_peak_mb": 0.0,
        "cores": 2.0,
    }
    return compare.measure(record, {"pairs": 640, "target_tokens": 10_000, "updates": 10})


def test_figures_are_means_of_the_timed_updates_and_of_an_epoch() -> None:
    found = row("ours", 1, 250.0)
    assert found["update_ms"] == pytest.approx(250)
    assert found["tokens_per_second"] == pytest.approx(4000)
    assert found["sentences_per_second"] == pytest.approx(256)
    assert found["first_update"] == 5.0


def test_ratios_are_taken_within_a_round() -> None:
    rows = [
        row("ours", 1, 100),
        row("eole", 1, 200),
        row("ours", 2, 300),
        row("eole", 2, 900),
        row("ours", 3, 50),
    ]
    assert compare.ratios("ours", "eole", rows) == pytest.approx([2, 3])
    head, line, *body = compare.table(rows)
    assert len(body) == 2
    assert len({text.count("|") for text in (head, line, *body)}) == 1
    assert "2.50 (2.00–3.00)" in body[1]


def test_the_clock_ends_a_program_after_its_updates(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, torch\n"
        "assert sys.argv[1:] == ['--option'], sys.argv\n"
        "weight = torch.nn.Parameter(torch.ones(2))\n"
        "optimizer = torch.optim.SGD([weight], lr=0.1)\n"
        "while True:\n"
        "    weight.sum().backward()\n"
        "    optimizer.step()\n"
    )
    out = tmp_path / "clock.json"
    options = ["--updates", "5", "--skip", "2", "--threads", "1", "--began", str(time.time())]
    command = [sys.executable, str(CLOCK), str(out), *options, "--", str(program), "--option"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    record = json.loads(out.read_text(encoding="utf-8"))
    assert len(record["stamps"]) == 5
    assert record["stamps"] == sorted(record["stamps"])
    assert record["threads"] == 1
    assert record["peak_mb"] > 10
    assert record["torch"] == torch.__version__


def test_both_textbook_decoders_compute_the_same() -> None:
    torch.manual_seed(1)
    cells = textbook.Seq2Seq(11, 6).eval()
    one = textbook.Seq2Seq(11, 6, nn_lstm=True).eval()
    weights = cells.state_dict()
    for name in list(weights):
        if name.startswith("decoder.layers.cells."):
            _, _, _, layer, kind = name.split(".")
            weights[f"decoder.layers.lstm.{kind}_l{layer}"] = weights.pop(name)
    one.load_state_dict(weights)
    source = torch.tensor([[4, 5, 6, 7, 2], [8, 9, 2, 3, 3]])
    target = torch.tensor([[1, 4, 5], [1, 6, 3]])
    torch.testing.assert_close(cells(source, target), one(source, target))
    assert cells(source, target).shape == (2, 3, 11)


def test_sorted_batches_hold_like_lengths_and_every_pair() -> None:
    pairs = [(torch.tensor([i]), torch.zeros(1 + i % 13)) for i in range(7 * 64)]
    order = textbook.batches(list(pairs), by_length=True)
    epoch = [next(order) for _ in range(7)]
    assert sorted(int(source) for batch in epoch for source, _ in batch) == list(range(7 * 64))
    assert all(max(len(t) for _, t in batch) - min(len(t) for _, t in batch) <= 2 for batch in epoch)
