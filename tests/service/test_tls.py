"""The console's certificate: made once, kept, renewed in time, and served with TLS 1.3 alone."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.service.tls import LIFETIME, ensure_certificate, fingerprint, own_addresses, own_names, server_context

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


def _loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_it_names_the_host_and_is_for_the_owner(tmp_path: Path) -> None:
    made = ensure_certificate(tmp_path, ["gw.example", "localhost"], ["192.0.2.1", "2001:db8::1"], NOW)
    certificate = _loaded(made.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gw.example", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("2001:db8::1"),
    ]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700
    assert made.fingerprint == fingerprint(made.certificate)
    assert len(made.fingerprint) == 32 * 3 - 1


def test_it_is_kept_until_30_days_before_its_end(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, ["a"], [], NOW)
    assert ensure_certificate(tmp_path, ["b"], [], NOW + LIFETIME - dt.timedelta(days=31)) == first
    assert ensure_certificate(tmp_path, ["b"], [], NOW + LIFETIME - dt.timedelta(days=30)) != first


def test_a_lost_key_makes_a_new_pair(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, ["a"], [], NOW)
    first.key.unlink()
    assert ensure_certificate(tmp_path, ["a"], [], NOW).fingerprint != first.fingerprint


def test_what_the_host_knows_of_itself_fits_a_certificate(tmp_path: Path) -> None:
    assert own_names("gw.example")[0] == "gw.example"
    assert {"127.0.0.1", "::1"} <= set(own_addresses())
    ensure_certificate(tmp_path, own_names(), own_addresses(), NOW)


@pytest.mark.parametrize(("version", "works"), [(ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)])
async def test_the_server_speaks_tls_1_3_alone(tmp_path: Path, version: ssl.TLSVersion, works: bool) -> None:
    made = ensure_certificate(tmp_path, ["localhost"], ["127.0.0.1"], dt.datetime.now(dt.UTC))

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(made.certificate, made.key))
    client = ssl.create_default_context(cafile=str(made.certificate))
    client.minimum_version = client.maximum_version = version
    port = server.sockets[0].getsockname()[1]
    async with server:
        if not works:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            return
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        assert writer.get_extra_info("cipher")[1] == "TLSv1.3"
        writer.close()
        await writer.wait_closed()
