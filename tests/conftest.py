"""One thread for torch in every worker; no cache; no time limits in hypothesis: a busy machine must not fail a test."""

import os

from hypothesis import settings

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # torch reads it when first imported, here or in a program under test

os.environ["SUGUK_CACHE"] = "off"  # the cache has tests of its own

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
