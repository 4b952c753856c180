"""`ikegate apply`, `diff` and `export`: the configuration as one document."""

import json
from typing import Any, BinaryIO

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.shown import safe, show_json
from gateway.storage.kind_names import SINGULAR

LARGEST_DOCUMENT = 32 * 1024 * 1024
_SIGNS = {"add": "+", "change": "~", "remove": "-"}
_KINDS = {**SINGULAR, "settings": "settings of the"}

document = click.option(
    "-f", "--file", "file", type=click.File("rb"), required=True, help="YAML or JSON; - is standard input."
)
pruning = click.option("--prune", is_flag=True, help="What is not in the document is to go.")


@click.command()
@document
@click.option("--dry-run", is_flag=True, help="Only show what would differ, and what it would mean for tunnels.")
@pruning
@click.option("-m", "--comment", default="", help="Why, for the list of revisions.")
@as_json
def apply(file: BinaryIO, dry_run: bool, prune: bool, comment: str, as_json: bool) -> None:
    """Lay a document over the configuration, in one revision or not at all."""
    written = _put(file, dry_run=dry_run, prune=prune, comment=comment)
    if as_json:
        show_json(written)
        return
    _show_differences(written)
    if not written["changed"]:
        click.echo(f"Nothing differs from revision {written['revision']}.")
    elif dry_run:
        click.echo("A dry run: nothing was stored.")
    else:
        click.echo(f"Stored as revision {written['revision']}.")


@click.command()
@document
@pruning
@as_json
def diff(file: BinaryIO, prune: bool, as_json: bool) -> None:
    """Show what `apply` would change; status 2 when there is a difference, 0 when there is none."""
    written = _put(file, dry_run=True, prune=prune)
    if as_json:
        show_json(written)
    else:
        _show_differences(written)
    if written["changed"]:
        raise SystemExit(2)


def _put(file: BinaryIO, **query: object) -> Any:
    body = file.read(LARGEST_DOCUMENT + 1)
    if len(body) > LARGEST_DOCUMENT:
        raise click.ClickException(f"{file.name} is larger than a document may be ({LARGEST_DOCUMENT} octets)")
    with asking(60) as gateway:
        return gateway.put("/config", body, "application/yaml", **query)


def _show_differences(written: dict[str, Any]) -> None:
    for one in written["differences"]:
        click.echo(safe(f"{_SIGNS[one['action']]} {_KINDS.get(one['kind'], one['kind'])} {one['name']}"))
        for field in one["fields"]:
            old, new = (json.dumps(field[side], ensure_ascii=False) for side in ("old", "new"))
            click.echo(safe(f"    {field['pointer']}: {old} -> {new}"))
    if written["differences"]:
        click.echo(safe(written["impact"]["text"]))
    for warning in written.get("warnings", ()):  # gateways before this command had none
        click.echo(safe(f"Mind: {warning}"))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def export(as_json: bool) -> None:
    """Print the whole configuration, without secrets, in a stable order: fit for `apply` and for git."""
    with asking() as gateway:
        text = gateway.text("/api/v1/config/export", format="json" if as_json else "yaml")
    click.echo(text.rstrip("\n"))
