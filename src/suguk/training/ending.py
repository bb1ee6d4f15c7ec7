"""What is said when a session of training is over."""

from suguk.training.loop import Loop

# By which a training ends, and what its message adds.
LIMITS = {
    "epochs": "",
    "minutes": ", which counts all sessions together",
    "early_stopping": ": so many validations in a row were no better",
}
WARMED = ("inverse-sqrt", "linear", "cosine")  # schedules that begin with train.warmup


def ended_text(loop: Loop) -> str:
    """What was trained, which model is the best, and what ended it; warnings where it learned less than it could."""
    progress, seconds = loop.progress, loop.clock.elapsed()
    text = f"trained {progress.step:,} updates, {progress.epochs:.2f} epochs, {seconds:,.0f} s"
    if progress.best is not None:
        text += f"; the best model is of step {progress.best.step:,}, "
        text += f"{loop.validator.metric} {progress.best.score:.2f}"
    limit = f"train.{loop.limit} = {getattr(loop.config, loop.limit):g}"
    lines = [f"{text}: {loop.folder}", f"ended by {limit}{LIMITS[loop.limit]}"]
    if progress.best is not None and progress.best.step == 0 < progress.step:
        lines.append(
            "warning: no validation was better than the model that this run starts from, which is kept"
        )
    if loop.config.schedule in WARMED and 0 < progress.step < loop.config.warmup:
        lines.append(
            f"warning: the learning rate was still rising, {progress.lr:.2e} of {loop.config.lr:g}, as train.warmup = "
            f"{loop.config.warmup:,} updates; `--set train.warmup={progress.step // 10}` learns faster in so few"
        )
    return "\n".join(lines)


def stopped_text(loop: Loop) -> str:
    """How to go on."""
    step = loop.progress.step
    return f"stopped after step {step:,} and saved; go on with `suguk train --resume {loop.folder}`"
