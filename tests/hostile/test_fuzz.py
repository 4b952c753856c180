"""Some seeds of each fuzzing target; `make fuzz` goes on for as long as one likes."""

import pytest

from tests.hostile.fuzz import codec, engine, inside, well_formed
from tests.wire.recorded import recorded

CORPUS = well_formed()


@pytest.mark.parametrize("seed", range(0, 600, 20))
def test_any_octets_are_a_message_or_nothing(seed: int) -> None:
    for number in range(seed, seed + 2):
        codec(number, CORPUS)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_recordings_are_a_message_or_nothing(seed: int) -> None:
    codec(seed, [datagram.octets for datagram in recorded()])


@pytest.mark.parametrize("seed", range(0, 400, 10))
def test_damage_behind_real_keys_harms_nobody(seed: int) -> None:
    for number in range(seed, seed + 10):
        inside(number, CORPUS)


@pytest.mark.parametrize("seed", range(80))
def test_no_story_harms_an_honest_peer(seed: int) -> None:
    engine(seed, CORPUS)


def test_recordings_of_others_change_nothing_in_a_story() -> None:
    corpus = [datagram.octets for datagram in recorded()]
    for seed in range(5):
        engine(seed, corpus)
