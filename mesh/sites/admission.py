"""Whether a broker that wants to link is one of an edge site: decided for the identity service, at the hub.

A site proves the key of its link by signing the hub's nonce, as nats-server does by itself where it knows the key.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from mesh.broker.nkey import KeyKind, read_public
from mesh.errors import NotAdmitted
from mesh.identity.device_settings import LONGEST_SESSION
from mesh.identity.nats_jwt import Admission
from mesh.sites.records import site_records
from streams.rights import BusRights
from streams.sites import link_rights

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.identity.nats_jwt import Question
    from mesh.sites.records import SiteRecord
    from streams.tokens import Token
    from streams.topology import Account

_SITE: Final = "site"


class _Link(NamedTuple):
    record: SiteRecord
    account: Account


class SiteLinks:
    """Decides by the records of a data folder, which are read anew each time: sites come and go."""

    def __init__(self, data_dir: Path) -> None:
        """Take the folder in which ``ig3 sites add`` and ``remove`` work."""
        self._data_dir = data_dir

    def admit(self, question: Question) -> Admission:
        """Return the rights of a link.

        Raises:
            NotAdmitted: if its key is that of no site here, or it did not sign the nonce with it.
            SiteError: if a record is damaged.
        """
        shown = question.options
        link = self._link_of(shown.nkey)
        if link is None:
            raise NotAdmitted(f"a broker shows the key of no site here ({shown.nkey[:64]}): see `ig3 sites list`")
        if not _signed(shown.nkey, question.client.nonce, shown.sig):
            raise NotAdmitted(f"a broker shows the key of site {link.record.site} and did not sign with it")
        record, account = link
        rights = link_rights(record.site, account, results_streams=record.results_streams)
        return Admission(
            name=link_name(record.site, account),
            rights=BusRights(publish=rights.publish, subscribe=rights.subscribe),
            lasts=LONGEST_SESSION,
            account=account,
            connects_as="LEAFNODE",
        )

    def _link_of(self, key: str) -> _Link | None:
        for record in site_records(self._data_dir):
            if key == record.edge_key:
                return _Link(record, "EDGE")
            if key == record.core_key:
                return _Link(record, "CORE")
        return None


def link_name(site: Token, account: Account) -> str:
    """The name under which the broker lists a link; unlike what a broker calls itself, it is ours."""
    return f"{_SITE}:{site}:{account}"


def _signed(key: str, nonce: str, signature: str) -> bool:
    if not nonce:
        return False
    try:
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        VerifyKey(read_public(key, KeyKind.USER)).verify(nonce.encode(), raw)
    except (BadSignatureError, binascii.Error, ValueError):
        return False
    return True
