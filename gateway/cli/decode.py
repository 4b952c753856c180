"""`ikegate decode`: what is in a packet capture."""

import json
import sys
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli.capture import MalformedCapture, read_frames
from gateway.cli.decoding import Decoding
from gateway.cli.keyfiles import EspKeys, IkeKeys, InvalidKeys, read_esp_keys, read_ike_keys
from gateway.cli.ladder import Ladder, begins
from gateway.cli.opening import EspOpener, IkeOpener
from gateway.service.keylog import ESP_TABLE, IKE_TABLE

_CAPTURE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_KEYS = click.Path(exists=True, path_type=Path)
_ESP_KEYS = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("capture", type=_CAPTURE)
@click.option(
    "--keys", type=_KEYS, help="Keys of IKE SAs: Wireshark's ikev2_decryption_table; or the key log's folder."
)
@click.option("--esp-keys", type=_ESP_KEYS, help="Keys of ESP: Wireshark's esp_sa.")
@click.option("--port", "ports", type=click.IntRange(1, 65535), multiple=True, help="A UDP port besides 500 and 4500.")
@click.option("--secrets", is_flag=True, help="Show AUTH and EAP data, nonces and tickets too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and packet.")
def decode(
    capture: Path, keys: Path | None, esp_keys: Path | None, ports: tuple[int, ...], secrets: bool, as_json: bool
) -> None:
    """Show every IKE message and ESP packet of a capture (pcap or pcapng; - is standard input).

    Encrypted messages are opened with keys in Wireshark's formats: the gateway's key log (IKEGATE_KEY_LOG) writes them,
    and so does strongSwan's save-keys.
    """
    if keys is not None and keys.is_dir():
        keys, esp_keys = keys / IKE_TABLE, esp_keys or keys / ESP_TABLE
    name = "standard input" if str(capture) == "-" else click.format_filename(capture)
    decoding = Decoding(IkeOpener(_ike_keys(keys)), EspOpener(_esp_keys(esp_keys)), frozenset(ports), secrets)
    with sys.stdin.buffer if str(capture) == "-" else capture.open("rb") as file:
        try:
            shown = _show(decoding, name, file, as_json)
        except MalformedCapture as error:
            raise click.ClickException(f"{name}: {error}") from None
    if not as_json:
        _sum_up(decoding, shown)


def _ike_keys(path: Path | None) -> IkeKeys:
    try:
        return read_ike_keys(path) if path else {}
    except (InvalidKeys, OSError) as error:
        raise click.ClickException(str(error)) from None


def _esp_keys(path: Path | None) -> EspKeys:
    try:
        return read_esp_keys(path) if path else {}
    except (InvalidKeys, OSError) as error:
        raise click.ClickException(str(error)) from None


def _show(decoding: Decoding, name: str, file: BinaryIO, as_json: bool) -> int:
    """Print what is found; how many packets that was. Raises MalformedCapture behind the last good packet."""
    ladder = Ladder()
    shown = 0
    for seen in decoding.go(read_frames(file)):
        if as_json:
            click.echo(json.dumps(seen.document()))
        else:
            if not shown:
                click.echo(f"{name}, times from {begins(seen.at) or 'nowhere: it has none'}")
            click.echo("\n".join(ladder.lines(seen)))
        shown += 1
    return shown


def _sum_up(decoding: Decoding, shown: int) -> None:
    others = ", ".join(f"{count} {what}" for what, count in decoding.passed_over.most_common())
    if not shown:
        click.echo("No IKE and no ESP in it.")
    if others:
        click.echo(f"Passed over: {others}.")
