"""The same parts on a Ray cluster. Needs `pip install 'suguk[ray]'`; two processors and a small store are enough."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from suguk.corpus import cluster, predict_table
from suguk.errors import DataError, MissingExtra, UserError
from tests.corpus.tables import OPTIONS, KillsWorkers, contents, work_of, write_table

MIB = 2**20
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of itself


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of two processors on this machine, and the connection to it."""
    ray = pytest.importorskip("ray", reason="needs pip install 'suguk[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, object_store_memory=80 * MIB, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def run(model: Path, data: Path, out: Path, ray: str | None = "local", **given: Any) -> tuple[int, int, int]:
    summary = predict_table(
        str(model), [str(data)], out, options=OPTIONS, rows=5, ray=ray, quiet=True, **given
    )
    return summary[:3]


def test_a_cluster_for_the_job_alone(model: Path, data: Path, tmp_path: Path) -> None:
    """Before the others: they keep a connection, which would be used here."""
    ray = pytest.importorskip("ray", reason="needs pip install 'suguk[ray]'")
    assert run(model, data, tmp_path / "out", workers=2) == (23, 5, 0)
    assert not ray.is_initialized()
    assert pq.read_table(tmp_path / "out").num_rows == 23


PROGRAM = """
import sys
from pathlib import Path
from suguk.config import PredictConfig
from suguk.corpus import predict_table

model, data, out, address = sys.argv[1:]
options = PredictConfig(beam=3, n_best=2, max_length=9)
print(*predict_table(model, [data], Path(out), options=options, rows=5, workers=2, ray=address)[:3])
"""


def test_programs_of_their_own(
    model: Path,
    data: Path,
    tmp_path: Path,
    script: Callable[..., "subprocess.Popen[str]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster by its address, and by the port of its client, where Ray Data has to run on the other side."""
    pytest.importorskip("ray", reason="needs pip install 'suguk[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whatever token an earlier cluster left on this machine
    port, client = free_port(), free_port()
    start = (
        f"-m ray.scripts.scripts start --head --num-cpus=2 --port={port} --ray-client-server-port={client}"
    )
    store = f"--object-store-memory={80 * MIB} --include-dashboard=false --disable-usage-stats --block"
    with subprocess.Popen(
        [sys.executable, *start.split(), *store.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as head:
        try:
            wait_for(port)
            wait_for(client)
            for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}"):
                out = tmp_path / re.sub(r"\W", "", address)
                with script(PROGRAM, model, data, out, address) as process:
                    found, err = process.communicate(timeout=300)
                assert found == "23 5 0\n", err
                ours = [
                    line + "\n" for line in err.splitlines() if " I " not in line
                ]  # Ray says what it logs
                assert re.fullmatch(
                    r"23 rows in 5 parts; 0 .* already\n(\d of 5 .* left\n)*", "".join(ours)
                ), err
                assert pq.read_table(out).num_rows == 23
        finally:
            head.terminate()


def test_what_comes_out_is_the_same(ray: Any, model: Path, data: Path, tmp_path: Path) -> None:
    del ray
    assert run(model, data, tmp_path / "out") == (23, 5, 0)
    assert run(model, data, tmp_path / "whole", None, workers=1) == (23, 5, 0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_a_restart_goes_on_with_what_processes_began(
    ray: Any, model: Path, data: Path, tmp_path: Path
) -> None:
    del ray
    out = tmp_path / "out"
    run(model, data, out, None, workers=1)
    before, times = contents(out), {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    for name in ("part-00001.parquet", "part-00004.parquet", "_SUCCESS"):
        (out / name).unlink()
    assert run(model, data, out) == (8, 2, 3)
    assert contents(out) == before
    again = {name for name, time in times.items() if (out / name).stat().st_mtime_ns != time}
    assert again == {"part-00001.parquet", "part-00004.parquet"}
    assert run(model, data, out) == (0, 0, 5)


def test_an_actor_that_is_killed_is_replaced(ray: Any, model: Path, data: Path, tmp_path: Path) -> None:
    del ray
    (tmp_path / "marks").mkdir()
    work = work_of(model, data, tmp_path / "out")
    killing = KillsWorkers(work, tmp_path / "marks")
    assert sorted(cluster.answers(killing, range(5), "local", 2, 0)) == [3, 5, 5, 5, 5]
    assert len(list((tmp_path / "marks").iterdir())) == 1
    run(model, data, tmp_path / "whole", None, workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_part_whose_actors_are_killed_again_and_again(
    ray: Any, model: Path, data: Path, tmp_path: Path
) -> None:
    del ray
    (tmp_path / "marks").mkdir()
    killing = KillsWorkers(work_of(model, data, tmp_path / "out"), tmp_path / "marks", times=99)
    with pytest.raises(UserError, match=r"part-00002.*3 actors were lost at it\n.*out of memory"):
        list(cluster.answers(killing, [2], "local", 1, 0))
    assert len(list((tmp_path / "marks").iterdir())) == 3


def test_what_an_actor_raises_is_raised_here(ray: Any, model: Path, data: Path, tmp_path: Path) -> None:
    del ray
    work = work_of(model, data, tmp_path / "out")
    write_table(data, 29)
    with pytest.raises(UserError, match=r"part-0000.*is not the file that the job began with\n.*every node"):
        list(cluster.answers(work, range(5), "local", 2, 0))
    with pytest.raises(UserError, match="holds another job"):
        run(model, data, tmp_path / "out")
    assert not issubclass(UserError, DataError)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"127.0.0.1:1: no Ray cluster answers: .*refused\n  hint: `ray start --head`"),
        ("ray://127.0.0.1:1", "ray://127.0.0.1:1: no Ray cluster answers"),
        ("no.such.host.invalid:6379", "no Ray cluster answers"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("head", r"--ray: expected local, auto, HOST:PORT or ray://HOST:PORT, found 'head'"),
        ("ray://", "expected local, auto"),
    ],
)
def test_a_wrong_address_is_told_in_seconds(address: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=message):
        cluster.reachable(address)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_another_service_is_told_in_seconds(answer: bytes | None) -> None:
    """One that hangs up, one that answers something else, and one that stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = threading.Event()

        def serve() -> None:
            line, _ = server.accept()
            with line:
                if answer is None:
                    done.wait(30)
                else:
                    line.recv(100)
                    line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(UserError, match=r"no Ray cluster answers: (timed out|.*is not Ray)"):
                cluster.reachable(f"ray://127.0.0.1:{port}")
        finally:
            done.set()
            thread.join()


def test_no_cluster_on_this_machine(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs pip install 'suguk[ray]'")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        UserError, match=r"auto: no Ray cluster answers: Could not .* instance.\n  hint: `ray start"
    ):
        run(model, data, tmp_path / "out", "auto")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"127.0.0.1:1: no Ray cluster answers: .*refused"):
        run(model, data, tmp_path / "out", "auto")


def test_without_ray(model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"--ray needs the package 'ray'.*\n.*pip install 'suguk\[ray\]'"):
        run(model, data, tmp_path / "out")
