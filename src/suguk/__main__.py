"""`python -m suguk`: the command line."""

from suguk.cli import main

main()
