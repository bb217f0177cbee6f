"""People on the bus: whoever shows an API key or the token of a session gets the subjects of their account."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.access.caller import Caller, SessionOf
from mesh.errors import CredentialRefused, NotAdmitted, WrittenByNewer
from mesh.identity.device_settings import LONGEST_SESSION
from mesh.identity.did import parse_did
from mesh.identity.nats_jwt import Admission
from streams.clock import now_ms
from streams.rights import user_rights, viewer_rights
from streams.tokens import Token

if TYPE_CHECKING:
    from mesh.access.credentials_check import CredentialsCheck
    from streams.access.fold import Access
    from streams.rights import BusRights

_USER: Final = "user:"


class BusPeople:
    """Lets people in, and remembers whom, for as long as they may stay."""

    def __init__(self, check: CredentialsCheck, access: Access) -> None:
        """Ask ``check`` who somebody is, and ``access`` who belongs where."""
        self._check = check
        self._access = access
        self._let_in: dict[str, tuple[Caller, int]] = {}

    async def admit(self, text: str) -> Admission:
        """Return what somebody who shows ``text`` may do on the bus.

        Raises:
            NotAdmitted: if nothing: the key or session is not good, or has no right that the bus could hold it to.
            BusError: if it cannot be found out now.
        """
        try:
            caller = await self._check.authenticate_text(text)
        except CredentialRefused as error:
            raise NotAdmitted(error.reason) from error
        except WrittenByNewer as error:
            raise NotAdmitted(str(error)) from error
        rights, lasts = _rights(caller), _lasts(caller)
        name = _name(caller)
        self._forget_those_who_are_gone()
        self._let_in[name] = (caller, now_ms() + int(lasts / timedelta(milliseconds=1)))
        return Admission(name=name, rights=rights, lasts=lasts)

    def no_longer_good(self) -> frozenset[str]:
        """Return the names of those who were let in and would not be now; they are forgotten."""
        self._forget_those_who_are_gone()
        gone = frozenset(name for name, (caller, _) in self._let_in.items() if not self._check.still_holds(caller))
        for name in gone:
            del self._let_in[name]
        return gone

    def may_stay(self, name: str) -> bool:
        """Whether a connection of this name may go on, whichever identity service has let it in."""
        caller = self._of_name(name)
        return caller is not None and self._check.may_go_on(caller, None)

    def _of_name(self, name: str) -> Caller | None:
        match name.removeprefix(_USER).split(":"):
            case [account, key_id]:
                return Caller(account=Token(account), how="key", rights=frozenset(), key_id=key_id)
            case [account, fingerprint, role, session_id, kid]:
                did = self._did(account, fingerprint, role)
                session = SessionOf(session_id=session_id, signed_in_at_s=0, kid=kid)
                if did is None:
                    return None
                return Caller(account=Token(account), how="session", rights=frozenset(), did=did, session=session)
            case _:
                return None

    def _did(self, name: str, fingerprint: str, role: str) -> str | None:
        """Whoever has still that role in an account."""
        account = self._access.account(name)
        members = () if account is None else account.members
        own = (member.did for member in members if member.role == role)
        return next((did for did in own if parse_did(did).fingerprint == fingerprint), None)

    def _forget_those_who_are_gone(self) -> None:
        now = now_ms()
        self._let_in = {name: entry for name, entry in self._let_in.items() if entry[1] > now}


def _rights(caller: Caller) -> BusRights:
    if caller.models:
        raise NotAdmitted(f"{_name(caller)} is for certain models only, which the broker cannot see: HTTP can")
    if caller.tools:
        raise NotAdmitted(f"{_name(caller)} is for certain functions only, which the broker cannot see: HTTP can")
    if caller.limits.has_any or caller.bounds.has_any:
        raise NotAdmitted(f"{_name(caller)} has limits of its own, which the broker cannot count: HTTP can")
    if "chat" in caller.rights:
        return user_rights(caller.account)
    if "read" in caller.rights:
        return viewer_rights(caller.account)
    raise NotAdmitted(f"{_name(caller)} has no right to see anything")


def _lasts(caller: Caller) -> timedelta:
    if caller.expires_at_ms is None:
        return LONGEST_SESSION
    return min(LONGEST_SESSION, timedelta(milliseconds=caller.expires_at_ms - now_ms()))


def is_person(name: str) -> bool:
    """Whether a connection's name is that of a person."""
    return name.startswith(_USER)


def _name(caller: Caller) -> str:
    """What the broker lists the connection as: all that says whether it may stay, and no secret."""
    session = caller.session
    if caller.did is None or session is None:
        return f"{_USER}{caller.account}:{caller.key_id}"
    fingerprint = parse_did(caller.did).fingerprint
    return f"{_USER}{caller.account}:{fingerprint}:{caller.role}:{session.session_id}:{session.kid}"
