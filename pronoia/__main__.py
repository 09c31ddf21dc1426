"""`python -m pronoia` is the command `pronoia`."""

from pronoia.cli import main

main()
