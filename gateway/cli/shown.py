"""How the commands show things: aligned tables, durations, sizes, times."""

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

_WIDE = 10_000  # into a pipe nothing is wrapped or cut
_STYLES = {
    "up": "green",
    "established": "green",
    "installed": "green",
    "degraded": "yellow",
    "connecting": "yellow",
    "running": "yellow",
    "rekeying": "yellow",
    "down": "red",
    "failed": "red",
}


def safe(value: object) -> str:
    """Text for a terminal: what came from a peer cannot steer it."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def show_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def show_done(written: Any, sentence: str, *, as_json: bool) -> None:
    """What was written, as the API answers it, or in a sentence."""
    if as_json:
        show_json(written)
    else:
        click.echo(safe(sentence))


def show_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Rows under headers in capitals; columns named in `right` are numbers."""
    from rich.table import Table  # here: `ikegate health` runs every few seconds and shows no table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    last = len(headers) - 1
    for index, header in enumerate(headers):
        table.add_column(
            Text(header), justify="right" if header in right else "left", overflow="fold", no_wrap=index != last
        )
    for row in rows:
        table.add_row(*(Text(safe(value), style=_STYLES.get(str(value), "")) for value in row))
    _print(table)


def show_list(
    found: Sequence[dict[str, Any]],
    headers: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[object]],
    *,
    as_json: bool,
    nothing: str,
    right: Sequence[str] = (),
) -> None:
    """As the API has it, or as a table with a `row` for each; `nothing` is the sentence where there is none."""
    if as_json:
        show_json(found)
    elif not found:
        click.echo(nothing)
    else:
        show_table(headers, [row(one) for one in found], right=right)


def show_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Names and values below each other; what has no value is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in ("", None, (), []):
            table.add_row(Text(name), Text(safe(value), style=_STYLES.get(str(value), "")))
    _print(table)


def _print(table: object) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as printed:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def octets(number: float) -> str:
    """With a decimal prefix: `1.2 MB`."""
    for prefix in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.0f} B" if not prefix else f"{number:.1f} {prefix}B"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """In the largest two units: `3 d 4 h`; tenths below ten seconds."""
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def ago(at: float | None) -> str:
    return "" if at is None else duration(time.time() - at)


def moment(at: float | None) -> str:
    """Unix time as local date and time."""
    return "" if at is None else f"{dt.datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}"
