"""Run a program's own entry point under a clock that is the same for all programs, and end it after N updates.

    python clock.py OUT.json --updates 120 --skip 20 --threads 2 --began SECONDS -- onmt_train -config settings.yaml

The program is the name of an installed command, of a module for `python -m`, or a file that ends in .py. It runs in
this process and nothing in it is changed: torch calls the clock after each step of any of its optimizers, suguk, which
has none of those, after each of its own. BEGAN is time.time() just before this interpreter was started, so the time to
the first update holds everything that a user waits for.
"""

import argparse
import json
import os
import resource
import runpy
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn


class Clock:
    """Takes the time after each update and ends the process after the last one."""

    def __init__(self, out: Path, began: float, updates: int, skip: int) -> None:
        self.out, self.began, self.updates, self.skip = out, began, updates, skip
        self.stamps: list[float] = []
        self.busy = 0.0

    def tick(self, *_: object) -> None:
        """After an optimizer's step."""
        self.stamps.append(time.time() - self.began)
        if len(self.stamps) == self.skip:
            self.busy = processor_seconds()
        if len(self.stamps) == self.updates:
            self.write()
            # Not sys.exit: no program may save, validate or clean up on our time, or catch this.
            end()

    def write(self) -> None:
        """The record. Without enough updates it holds the stamps only."""
        import torch

        record: dict[str, Any] = {
            "stamps": [round(stamp, 4) for stamp in self.stamps],
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "peak_mb": peak_mb("self"),
            "workers_peak_mb": sum(peak_mb(child) for child in children()),
        }
        if len(self.stamps) > self.skip:
            # Cores in use, this process only: far below the threads, something else had the processor.
            seconds = self.stamps[-1] - self.stamps[self.skip - 1]
            record["cores"] = round((processor_seconds() - self.busy) / seconds, 2)
        self.out.write_text(json.dumps(record), encoding="utf-8")


def processor_seconds() -> float:
    """Used by all threads of this process."""
    return time.process_time()


def peak_mb(process: str) -> float:
    """Most resident memory so far, in 10⁶ bytes. 0 for another process that has ended or where there is no /proc."""
    status = Path("/proc") / process / "status"
    try:
        lines = status.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    if process != "self":
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def children() -> list[str]:
    """Processes that this one started (loader workers) and that still run."""
    found: list[str] = []
    for task in Path("/proc/self/task").glob("*/children"):
        found += task.read_text().split()
    return found


def end() -> NoReturn:
    """Stop here and now."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def start(program: str) -> None:
    """Run a .py file, the console entry point of that name, or what `python -m` would run."""
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
        return
    points = metadata.entry_points(group="console_scripts", name=program)
    if points:
        next(iter(points)).load()()
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def listen(clock: Clock, program: str) -> None:
    """Have the clock called after every update."""
    if program == "suguk":
        from suguk.training.optimise import Optimizer

        step = Optimizer.step

        def and_tick(self: Optimizer, lr: float) -> None:
            step(self, lr)
            clock.tick()

        Optimizer.step = and_tick  # type: ignore[method-assign]
    else:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(clock.tick)


def main() -> None:
    """Parse the command line, hook in, become the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--skip", type=int, default=20)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--began", type=float, required=True)
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()
    # Files beside this one must not stand in for modules of the program.
    sys.path.remove(str(Path(__file__).parent))

    import torch

    torch.set_num_threads(arguments.threads)
    clock = Clock(arguments.out, arguments.began, arguments.updates, arguments.skip)
    listen(clock, arguments.program[0])
    sys.argv = arguments.program
    start(arguments.program[0])
    raise SystemExit(f"{arguments.program[0]} ended after {len(clock.stamps)} of {arguments.updates} updates")


if __name__ == "__main__":
    main()
