"""Who may say and hear what on the bus, as values: the rights of each role are made of these, and of nothing else.

Allow lists only: what is not here is refused. The table in docs/rights.md and the test that tries every cell of it on a
real broker are made of the same values (DESIGN, "Who may write what").
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams import subjects
from streams.subjects import SERVICE_CLASSES

if TYPE_CHECKING:
    from streams.tokens import Token

GRANT_LASTS: Final = timedelta(minutes=5)
"""How long a node may write to what it was handed; while it still writes it asks for more before that."""
GRANT_MESSAGES: Final = 65_536
"""How many messages one grant is good for."""

_ANY_BUCKET: Final = "*"
_ANY_TASK: Final = "*"


class Grants(Struct, frozen=True, kw_only=True):
    """The right to publish on the reply subjects of what one was sent: ``allow_responses`` of the broker."""

    messages: int
    lasts: timedelta


class BusRights(Struct, frozen=True, kw_only=True):
    """What one connection may do in EDGE."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    grants: Grants | None = None
    """None: it may answer nobody."""


def node_rights(node: Token) -> BusRights:
    """A device: its own load, its own questions, its own orders; results only where an order has lent the right."""
    return BusRights(
        publish=(subjects.status(node), *(subjects.node_api(node, verb) for verb in subjects.NODE_VERBS)),
        subscribe=(subjects.node_inbox_all(node), f"{subjects.node_inbox_prefix(node)}.>"),
        grants=Grants(messages=GRANT_MESSAGES, lasts=GRANT_LASTS),
    )


def user_rights(account: Token) -> BusRights:
    """A member of an account: its tasks, its questions, and what was stored for its tasks."""
    return BusRights(
        publish=(
            *(f"tasks.{each}.{_ANY_BUCKET}.{account}.{_ANY_TASK}.submitted" for each in SERVICE_CLASSES),
            *(subjects.user_api(account, verb) for verb in subjects.USER_VERBS),
        ),
        subscribe=_hearing(account),
    )


def viewer_rights(account: Token) -> BusRights:
    """Somebody who may look on: catching up and listening, no tasks and no cancelling."""
    return BusRights(
        publish=(subjects.user_api(account, "events"), subjects.user_api(account, "store")),
        subscribe=_hearing(account),
    )


def _hearing(account: Token) -> tuple[str, ...]:
    return (subjects.live_of_account(account), f"{subjects.user_inbox_prefix(account)}.>")
