"""Training: schedules, the loop, its saved state, validation, displays. `run.train` and `run.resume` start it."""
