"""Reads captures with Wireshark's dissectors and a key log's folder as its configuration."""

import os
import subprocess
from pathlib import Path

# What a new Wireshark does not do of its own accord.
ESP_OPTIONS = ("-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE")


def tshark(capture: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """tshark with the tables and profiles of `folder`, and nothing of its user's."""
    environment = os.environ | {"WIRESHARK_CONFIG_DIR": str(folder), "HOME": str(folder)}
    command = ["tshark", "-r", str(capture), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def dissected(capture: Path, folder: Path, *words: str, fields: tuple[str, ...]) -> list[dict[str, list[str]]]:
    """The values of `fields` in each packet that `words` select; a field that a packet has not is an empty list."""
    wanted = [word for field in fields for word in ("-e", field)]
    done = tshark(capture, folder, *ESP_OPTIONS, *words, "-T", "fields", "-E", "aggregator= ", *wanted)
    assert done.returncode == 0, done.stderr
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return [{name: value.split() for name, value in zip(fields, row, strict=True)} for row in rows]
