"""The parts of a job through Ray Data: a pool of actors, each with the model loaded once and one thread.

The model goes to the nodes through Ray's object store. Rows do not: actors read the input and write the parts
themselves, at paths that every node has, because a corpus larger than a machine must not pass through one. What comes
back is a number of rows. An actor or a node that is lost is replaced by Ray, and its part done again.
"""

import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from suguk.corpus.workers import Told, Work
from suguk.errors import MissingExtra, UserError

TRIES = 3  # of a part whose actor or node is lost; Ray itself would try for ever
SECONDS = 5.0  # in which a cluster has to answer
# Ray speaks gRPC, that is HTTP/2, where both sides begin with their settings: RFC 9113, sections 3.4, 4.1 and 6.5.
HELLO, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5), 4
STORE = 100_000_000  # bytes for objects of a local cluster, besides the model
START = (
    "`ray start --head` starts a cluster and prints its address; --ray local starts one for this job; where a "
    "cluster asks for a token, set RAY_AUTH_MODE=token"
)


def answers(work: Work, tasks: Sequence[int], address: str, actors: int | None, size: int) -> Iterator[Any]:
    """One answer for each task, as they come.

    address: local, auto, HOST:PORT or ray://HOST:PORT; a program that has called `ray.init` keeps its connection.
    actors: how many; None: one for each processor of the cluster. size: bytes of the work, about.
    MissingExtra without Ray; UserError where no cluster answers, or for a task whose actors were lost three times;
    otherwise what an actor raised, as `Told.error` tells it.
    """
    ray = _ray()
    with _connected(ray, address, actors, size):
        held = ray.put(work)
        if address.startswith("ray://"):  # Ray Data does not work in a client: it runs in an actor
            there = ray.remote(num_cpus=0)(_There).remote([held], tasks, actors)
            found = iter(lambda: ray.get(there.next.remote()), None)
        else:
            found = _through_data(held, tasks, actors)
        try:
            for told in found:
                answer = json.loads(told)
                if isinstance(answer, list):
                    raise Told(*answer).error()
                yield answer
        except ray.exceptions.RayError as fault:
            lost = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
            hint = "the logs of Ray say more; start the job again to go on"
            raise UserError(f"Ray gave up: {lost}", where=address, hint=hint) from fault


def reachable(address: str) -> None:
    """UserError, in seconds, unless what listens at HOST:PORT or ray://HOST:PORT may be Ray.

    Asked because Ray itself waits for minutes, and then ends the program.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"expected local, auto, HOST:PORT or ray://HOST:PORT, found {address!r}", where="--ray"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS) as line:
            line.sendall(HELLO)
            heard = line.recv(9)  # length of a frame in three bytes, its type, flags, stream
    except (OSError, OverflowError) as fault:
        raise UserError(f"no Ray cluster answers: {fault}", where=address, hint=START) from None
    if heard[3:4] != bytes([SETTINGS]):
        raise UserError("no Ray cluster answers: what listens there is not Ray", where=address, hint=START)


class _Actor:
    """Answers tasks; a class that Ray Data calls with a batch of one row."""

    def __init__(self, held: list[Any], tries: Any) -> None:
        """held: a reference to the work, in a list, as Ray would put the work itself in its place; tries: `_Tries`."""
        self._held, self._tries = held, tries
        self._work: Work | None = None
        self._call: Callable[[int], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        ray, task = _ray(), int(batch["item"][0])
        try:
            self._work = self._work or ray.get(self._held[0])
            if ray.get(self._tries.begin.remote(task)) > TRIES:
                hint = "out of memory? Fewer actors on a node (--workers), or a smaller predict.batch_tokens"
                raise UserError(f"{TRIES} actors were lost at it", where=self._work.name(task), hint=hint)
            self._call = self._call or self._work.open()
            answer: Any = self._call(task)
        except Exception as fault:
            answer = Told.of(fault)
        return {"answer": [json.dumps(answer)]}


class _Tries:
    """How often each task was begun: an actor that is lost cannot remember it."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        self._counts[task] += 1
        return self._counts[task]


class _There:
    """What is done here otherwise, on a node of the cluster."""

    def __init__(self, held: list[Any], tasks: Sequence[int], actors: int | None) -> None:
        self._found = _through_data(held[0], tasks, actors)

    def next(self) -> str | None:
        return next(self._found, None)


def _through_data(held: Any, tasks: Sequence[int], actors: int | None) -> Iterator[str]:
    ray = _ray()
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    processors = int(ray.cluster_resources().get("CPU", 1))
    most = min(actors or processors, len(tasks))
    pool = ray.data.ActorPoolStrategy(
        min_size=max(1, min(most, processors)), max_size=most
    )  # a cluster may grow
    rows = ray.data.from_items(list(tasks), override_num_blocks=len(tasks)).map_batches(
        _Actor,
        batch_size=1,
        compute=pool,
        fn_constructor_args=([held], ray.remote(num_cpus=0)(_Tries).remote()),
        num_cpus=1,
    )
    for row in rows.iter_rows():
        yield row["answer"]


def _ray() -> Any:
    # Read when ray starts: nothing is sent anywhere, and what its core logs of Ray Data's own actors is not for users.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray", "--ray") from None
    return ray


@contextmanager
def _connected(ray: Any, address: str, cpus: int | None, size: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    local = {"num_cpus": cpus, "object_store_memory": STORE + 2 * size, "include_dashboard": False}
    known = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if known not in ("local", "auto"):
        reachable(known)
    try:
        ray.init(address, logging_level="error", log_to_driver=False, **(local if address == "local" else {}))
    except (ConnectionError, RuntimeError, SystemExit, TimeoutError, ValueError) as fault:
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise UserError(f"no Ray cluster answers: {first}", where=address, hint=START) from None
    try:
        yield
    finally:
        ray.shutdown()
