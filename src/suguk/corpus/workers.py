"""N processes of this machine: each loads the model once, with one thread, and answers one task after another."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol, Self

from suguk.config import PredictConfig
from suguk.corpus.carried import Carried
from suguk.errors import UserError, is_full
from suguk.predictor import Prediction

FIRST_CHUNK, LARGEST_CHUNK = 16, 512  # lines of a task: few at first, for an early answer
AHEAD = 4  # tasks for each worker that are begun before the first of them is handed on
TRIES = 2
PATIENCE = 5.0  # seconds for a worker to end before it is killed


class Work(Protocol):
    """What workers do. Goes to them by pickle, as tasks and answers do."""

    def name(self, task: Any) -> str:
        """For messages."""
        ...

    def open(self) -> Callable[[Any], Any]:
        """Called once in each worker; what it returns is called with every task."""
        ...


class Told(NamedTuple):
    """An exception of a worker, told elsewhere. trace: empty for what a user can mend."""

    message: str
    where: str | None
    hint: str | None
    trace: str

    @classmethod
    def of(cls, fault: Exception) -> "Told":
        place = ": ".join(getattr(fault, "__notes__", ())) or None
        if isinstance(fault, UserError):
            return cls(fault.message, place or fault.where, fault.hint, "")
        if isinstance(fault, ModuleNotFoundError):
            return cls(str(fault), place, "install suguk with the same extras wherever workers run", "")
        if is_full(fault):
            return cls(
                "not enough memory",
                place,
                "fewer processes, or a smaller predict.batch_tokens, need less",
                "",
            )
        return cls(f"{type(fault).__name__}: {fault}", place, None, traceback.format_exc())

    def error(self) -> Exception:
        """To be raised here: a UserError, or a RuntimeError with the worker's traceback as a note."""
        if not self.trace:
            return UserError(self.message, where=self.where, hint=self.hint)
        fault = RuntimeError(": ".join(filter(None, (self.where, self.message))))
        fault.add_note(self.trace)
        return fault


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_count(count: int | None) -> None:
    """UserError for less than one worker."""
    if count is not None and count < 1:
        raise UserError(f"expected at least one worker, found {count}", where="--workers")


def answers(
    work: Work, tasks: Iterable[Any], count: int, ahead: int | None = None
) -> Generator[Any, None, None]:
    """One answer for each task, in the order of the tasks. The processes end with the iteration, however it ends.

    count: processes; ahead: most tasks that are read before the first of them is answered; None: as many as there are.
    A worker that is ended from outside is reported and its task given to another, once. Raises what a worker raised,
    as `Told.error` tells it; UserError for a task whose workers were ended twice.
    """
    with _Pool(work, count) as pool:
        incoming = enumerate(tasks)
        held: dict[int, Any] = {}
        read = given = 0
        ended = False
        while not (ended and read == given):
            while (idle := pool.idle()) and not ended and (ahead is None or read - given < ahead):
                number, task = next(incoming, (-1, None))
                ended = number < 0
                if not ended:
                    pool.give(idle, number, task)
                    read += 1
            for number, answer in pool.receive():
                if isinstance(answer, Told):
                    raise answer.error()
                held[number] = answer
            while given in held:
                yield held.pop(given)
                given += 1


def map_lines(
    model: str, lines: Iterable[str], options: PredictConfig, workers: int, *, attention: bool = False
) -> Generator[Prediction, None, None]:
    """A prediction for each line, in their order, by so many processes; what no output meets has a `problem`.

    `lines` is read no further than a few hundred lines a process ahead of the answers, and answers come by chunks of
    lines. UserError: see `answers`, and what the model refuses.
    """
    check_count(workers)
    work = LineWork(Carried.read(model), options, attention)
    for found in answers(work, _chunks(lines), workers, ahead=AHEAD * workers):
        yield from found


def _chunks(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    incoming, size, before = iter(lines), FIRST_CHUNK, 0
    while chunk := list(islice(incoming, size)):
        yield before, chunk
        before += len(chunk)
        size = min(2 * size, LARGEST_CHUNK)


@dataclass(frozen=True)
class LineWork:
    """A task: how many lines come before, and some lines."""

    carried: Carried
    options: PredictConfig
    attention: bool

    def name(self, task: tuple[int, list[str]]) -> str:
        before, lines = task
        return f"lines {before + 1:,} to {before + len(lines):,}"

    def open(self) -> Callable[[tuple[int, list[str]]], list[Prediction]]:
        model = self.carried.open()

        def predict(task: tuple[int, list[str]]) -> list[Prediction]:
            try:
                return model.predict(task[1], self.options, attention=self.attention, skip_unmet=True)
            except Exception as fault:
                fault.add_note(self.name(task))
                raise

        return predict


class _Worker:
    """One process, our end of its pipe, and the task that it has."""

    def __init__(self, tries: int = 1) -> None:
        context = get_context("spawn")  # a fork would take along the threads' locks of torch and ONNX Runtime
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _interrupts_ignored():  # which the process inherits: Ctrl-C is for us to heed
            self.process.start()
        theirs.close()
        self.fresh, self.busy, self.tries = True, False, tries
        self.number, self.task = -1, None

    def end(self) -> None:
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.pipe.close()


class _Pool:
    def __init__(self, work: Work, count: int) -> None:
        self.work, self.workers = work, [_Worker() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        for worker in self.workers:
            worker.process.terminate()  # all at once; they are waited for below
        for worker in self.workers:
            worker.end()

    def idle(self) -> _Worker | None:
        return next((worker for worker in self.workers if not worker.busy), None)

    def give(self, worker: _Worker, number: int, task: Any) -> None:
        worker.number, worker.task, worker.busy = number, task, True
        with suppress(OSError):  # it was ended: `receive` will find that out
            if worker.fresh:
                worker.pipe.send(self.work)
            worker.fresh = False
            worker.pipe.send(task)

    def receive(self) -> Iterator[tuple[int, Any]]:
        """Waits until at least one worker has answered or was ended."""
        busy: dict[Any, _Worker] = {worker.pipe: worker for worker in self.workers if worker.busy}
        for pipe in wait(list(busy)) if busy else ():
            worker = busy[pipe]
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker)
            else:
                worker.busy, worker.tries = False, 1
                yield worker.number, answer

    def _replace(self, worker: _Worker) -> None:
        worker.process.join(PATIENCE)
        worker.end()
        code, task = worker.process.exitcode or 0, self.work.name(worker.task)
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        if worker.tries == TRIES:
            raise UserError(
                f"{TRIES} workers were ended at it, the last by {how}",
                where=task,
                hint="out of memory? Fewer --workers, or a smaller predict.batch_tokens of the model, need less",
            )
        print(f"a worker was ended by {how}; done again: {task}", file=sys.stderr, flush=True)
        other = _Worker(worker.tries + 1)
        self.workers[self.workers.index(worker)] = other
        self.give(other, worker.number, worker.task)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def _serve(pipe: "Connection[Any, Any]") -> None:
    """A worker's life: the work, then tasks, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        work: Work = pipe.recv()
        call: Callable[[Any], Any] | None = None
        while True:
            task = pipe.recv()
            try:
                call = call or work.open()
                answer = call(task)
            except Exception as fault:
                answer = Told.of(fault)
            pipe.send(answer)


def _end_with_parent() -> None:
    """A parent that was killed closes its pipe, but nobody reads it in the middle of a task."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
