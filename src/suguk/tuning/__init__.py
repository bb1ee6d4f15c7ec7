"""The search for settings: a study of short trainings (`study`), over a space of settings (`space`)."""
