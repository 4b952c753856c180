"""Whether a user may come in, and what of him is never shown."""

import pytest

from gateway.policy.users import User


@pytest.mark.parametrize(
    ("enabled", "expires", "unix", "barred"),
    [
        (True, None, 1e12, ""),
        (True, 1000.0, 999.9, ""),
        (True, 1000.0, 1000.0, "has expired"),
        (False, None, 0.0, "is disabled"),
        (False, 1000.0, 2000.0, "is disabled"),
    ],
)
def test_a_user_comes_in_while_enabled_and_before_the_end(enabled, expires, unix, barred):
    assert User("anna", b"x", enabled, expires).barred(unix) == barred


def test_no_secret_is_in_the_repr():
    shown = repr(User("anna", b"open sesame", totp_secret=b"seed of codes"))
    assert "anna" in shown
    assert "sesame" not in shown and "seed" not in shown
