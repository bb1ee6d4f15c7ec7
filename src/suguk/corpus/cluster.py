"""The parts of a job through Ray Data: a pool of actors, each with the model loaded once and one thread.

The model goes to the nodes through Ray's object store. Rows do not: actors read the input and write the parts
themselves, at paths that every node has, because a corpus larger than a machine must not pass through one. What comes
back is a number of rows. An actor or a node that is lost is replaced by Ray, and its part done again.
"""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from suguk.corpus.workers import Told, Work
from suguk.errors import MissingExtra, UserError

RETRIES = 2  # of a part whose actor or node was lost
SECONDS = 5.0  # in which a cluster has to answer
STORE = 100_000_000  # bytes for objects of a local cluster, besides the model
START = "`ray start --head` starts a cluster and prints its address; --ray local starts one for this job"


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
            lost = next(line for line in str(fault).splitlines() if line.strip())
            hint = "out of memory? `ray list actors` and the logs of Ray say more; start again to go on"
            raise UserError(
                f"Ray gave up after {RETRIES} retries: {lost}", where=address, hint=hint
            ) from fault


def reachable(address: str) -> None:
    """UserError, in seconds, unless something listens at HOST:PORT or ray://HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"expected local, auto, HOST:PORT or ray://HOST:PORT, found {address!r}", where="--ray"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except (OSError, OverflowError) as fault:
        raise UserError(f"no Ray cluster answers: {fault}", where=address, hint=START) from None


class _Actor:
    """Answers tasks; a class that Ray Data calls with a batch of one row."""

    def __init__(self, held: list[Any]) -> None:
        """held: a reference to the work, in a list, as Ray would put the work itself in its place."""
        self._held, self._call = held, None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            if self._call is None:
                import ray

                self._call = ray.get(self._held[0]).open()
            answer: Any = self._call(int(batch["item"][0]))
        except Exception as fault:
            answer = Told.of(fault)
        return {"answer": [json.dumps(answer)]}


class _There:
    """What is done here otherwise, on a node of the cluster."""

    def __init__(self, held: list[Any], tasks: Sequence[int], actors: int | None) -> None:
        self._found = _through_data(held[0], tasks, actors)

    def next(self) -> str | None:
        return next(self._found, None)


def _through_data(held: Any, tasks: Sequence[int], actors: int | None) -> Iterator[str]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    DataContext.get_current().enable_progress_bars = False
    processors = int(ray.cluster_resources().get("CPU", 1))
    most = min(actors or processors, len(tasks))
    pool = ActorPoolStrategy(min_size=max(1, min(most, processors)), max_size=most)  # a cluster may grow
    rows = ray.data.from_items(list(tasks), override_num_blocks=len(tasks)).map_batches(
        _Actor,
        batch_size=1,
        compute=pool,
        fn_constructor_args=([held],),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )
    for row in rows.iter_rows():
        yield row["answer"]


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts: nothing is sent anywhere
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
    if address not in ("local", "auto"):
        reachable(address)
    try:
        ray.init(address, logging_level="error", log_to_driver=False, **(local if address == "local" else {}))
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as fault:
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise UserError(f"no Ray cluster answers: {first}", where=address, hint=START) from None
    try:
        yield
    finally:
        ray.shutdown()
