"""Training: schedules, the loop, its saved state, validation, displays. `run` starts or resumes it."""
