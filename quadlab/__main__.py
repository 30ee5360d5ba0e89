"""`python -m quadlab` is the command line."""

from quadlab.cli import main

main()
