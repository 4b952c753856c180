"""What the client commands share: the connection, and how its failures end a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from gateway.cli.connection import PATIENCE, Connection, Refusal, Target, Unreachable
from gateway.cli.local import NoDoor
from gateway.cli.shown import safe

as_json = click.option("--json", "as_json", is_flag=True, help="Show what the API answers.")


@contextmanager
def asking(patience: float = PATIENCE, *, needs_token: bool = True) -> Iterator[Connection]:
    """A connection to the gateway that the environment names; every failure becomes a sentence and exit status 1."""
    try:
        with Connection(Target.from_environment(needs_token=needs_token), patience) as connection:
            yield connection
    except (NoDoor, Unreachable) as error:
        raise click.ClickException(safe(error)) from None
    except Refusal as refusal:
        lines = [safe(refusal.summary), *(f"  {safe(where) or '/'}: {safe(what)}" for where, what in refusal.mistakes)]
        raise click.ClickException("\n".join(lines)) from None
