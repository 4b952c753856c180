"""strongSwan comes in by EAP-PEAP, which Debian's has not: FreeRADIUS decides about it, and we pass it through."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop.conftest import start_pair
from tests.interop.eap_ends import USER, assert_works, give_files
from tests.interop.planes import userspace_only
from tests.interop.radius_ends import load_asking, passed_through, radius_in, user_by
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair
from tests.lab.eap_peap import PeapCharon
from tests.lab.freeradius import FreeRadius

pytestmark = [userspace_only, pytest.mark.requires("freeradius", "eap-peap")]


@pytest.fixture(scope="module")
def pair(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        made = start_pair(stack, tmp_path_factory.mktemp("pair"), plane, charon=PeapCharon)
        give_files(made, tmp_path_factory.mktemp("certificates"))
        yield made


@pytest.fixture(scope="module")
def radius(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    yield from radius_in(pair.left, tmp_path_factory.mktemp("radius"), method="peap")


def test_a_password_inside_tls(pair: Pair, radius: FreeRadius) -> None:
    """MSCHAPv2 in PEAP; the key that TLS made, which the server tells us, signs the AUTH payloads of both ends."""
    tunnel = passed_through("peap", user_by("peap"))
    load_asking(pair, tunnel, radius)
    before, said = len(radius.log()), len(pair.charon.log())
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == USER
    assert "EAP method EAP_PEAP succeeded, MSK established" in pair.charon.log()[said:]
    asked = radius.log()[before:]
    assert "Calling submodule eap_peap" in asked and "Calling submodule eap_mschapv2" in asked
    assert "Sent Access-Accept" in asked


def test_a_wrong_password_inside_tls(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("peap-wrong", user_by("peap"))
    load_asking(pair, tunnel, radius, "no")
    before = len(radius.log())
    attempt = failed(pair, tunnel, "theirs", charon_says="received EAP_FAILURE")
    assert (attempt["cause"], attempt["eap_identity"]) == ("eap-radius", USER)
    assert attempt["reason"] == "EAP with anna failed: the RADIUS server one refused"
    assert "mschap: ERROR: MS-CHAP2-Response is incorrect" in radius.log()[before:]


def test_a_server_that_the_user_does_not_believe(pair: Pair, radius: FreeRadius) -> None:
    """Its certificate is for another name: the user ends TLS before he says anything of the password."""
    tunnel = passed_through("peap-other", {**user_by("peap"), "aaa_id": "other.lab"})
    load_asking(pair, tunnel, radius)
    before = len(radius.log())
    attempt = failed(pair, tunnel, "theirs", charon_says="server certificate does not match to 'other.lab'")
    assert attempt["cause"] == "eap-radius"
    asked = radius.log()[before:]
    assert "Calling submodule eap_peap" in asked and "Calling submodule eap_mschapv2" not in asked
