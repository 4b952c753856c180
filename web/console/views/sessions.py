"""Every live IKE SA and CHILD_SA."""

from dataclasses import dataclass

from gateway.service.status import ChildSaStatus, IkeSaStatus, Status
from web.console.words import State, ike_sa_state, sa_state


@dataclass(frozen=True, slots=True)
class Sessions:
    """SAs that match the filter, the youngest first, with their states in words."""

    ike_sas: tuple[tuple[IkeSaStatus, State], ...]
    child_sas: tuple[tuple[ChildSaStatus, State], ...]
    total: int


def sessions(status: Status, query: str = "") -> Sessions:
    needle = query.strip().lower()
    ike_sas = [sa for sa in status.ike_sas if not needle or needle in _ike_text(sa)]
    child_sas = [sa for sa in status.child_sas if not needle or needle in _child_text(sa)]
    return Sessions(
        tuple((sa, ike_sa_state(sa)) for sa in sorted(ike_sas, key=lambda sa: -sa.created_at)),
        tuple((sa, sa_state(sa.state)) for sa in sorted(child_sas, key=lambda sa: -sa.installed_at)),
        len(status.ike_sas) + len(status.child_sas),
    )


def _ike_text(sa: IkeSaStatus) -> str:
    return "\n".join(
        (
            *(sa.peer or "", sa.local, sa.remote, sa.local_id, sa.remote_id, sa.spi_i, sa.spi_r, sa.algorithms),
            *sa.leased,
            sa.access.profile if sa.access else "",
        )
    ).lower()


def _child_text(sa: ChildSaStatus) -> str:
    return "\n".join(
        (sa.peer, sa.name, sa.spi_in, sa.spi_out, sa.algorithms, *sa.local_selectors, *sa.remote_selectors)
    ).lower()
