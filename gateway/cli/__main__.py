"""`python -m gateway.cli` is `ikegate`."""

from gateway.cli import main

main(prog_name="ikegate")
