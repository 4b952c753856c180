"""`ikegate setup-url` and `ikegate health`: the way in, and whether there is somebody at home."""

import os

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.local import NoDoor, data_folder, read_setup_link
from gateway.cli.shown import safe, show_json


@click.command("setup-url")
def setup_url() -> None:
    """Print the one-time link that makes the first administrator; needs the right to read the gateway's data folder."""
    data = data_folder(os.environ)
    try:
        link = read_setup_link(data)
    except NoDoor as error:
        raise click.ClickException(str(error)) from None
    if link is None:
        raise click.ClickException(
            f"There is no setup link in {data}: the gateway has an administrator already, or it does not run."
        )
    click.echo(link)


@click.command()
@as_json
def health(as_json: bool) -> None:
    """Ask whether the gateway works; status 1 when it does not. Needs no token."""
    with asking(4, needs_token=False) as gateway:
        ready, problems = gateway.ready()
    if as_json:
        show_json({"ok": ready, "problems": problems})
    else:
        click.echo("ready" if ready else "not ready")
        for problem in problems:
            click.echo(safe(problem))
    if not ready:
        raise SystemExit(1)
