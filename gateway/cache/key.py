"""Which requests are the same: a digest of all of a task that its answer depends on.

It is made of the whole submission, not of a list of fields, so whatever a later version lets a request say tells two
requests apart from the day it is there. A MAC, so that who sees the keys of a store cannot try out what was asked.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from streams.events import TaskSubmitted
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.tasks.chat import Sampling
    from streams.tasks.placing import Rules

_PURPOSE: Final = b"ig3-cache-key-1"
_encode: Final = msgspec.msgpack.Encoder().encode
_UNSAID: Final = TaskSubmitted(model="any").sampling


class Slot(NamedTuple):
    """Where one answer stands: whose it is, and what was asked."""

    owner: Token
    digest: Token


def canonical(task: TaskSubmitted, models: tuple[str, ...] = ()) -> bytes:
    """What the answer to a task depends on, as bytes that are equal where it is.

    Left out is by which key it was asked, and what decides when and for how much a task runs: its deadline and the
    highest price. Other rules stay, since an answer of a region, a reputation or a policy that its owner will not have
    is another answer.

    Args:
        task: what would be submitted; its model as it was asked for, since which one a name stands for in the end is
            known only when a node is chosen.
        models: what that name stands for now, where it is an alias.
    """
    same = replace(
        task,
        deadline_at_ms=None,
        redrive_of=None,
        key=None,
        sampling=_without_negative_zero(task.sampling),
        rules=_binding(task.rules),
    )
    return _encode((models, same))


def slot_of(secret: bytes, owner: Token, request: bytes) -> Slot:
    """Name the place of an answer; nobody without ``secret`` can tell from it what was asked."""
    message = b"%b\0%b\0%b" % (_PURPOSE, owner.encode(), request)
    return Slot(owner, Token(hmac.digest(secret, message, "sha256").hex()))


def _without_negative_zero(sampling: Sampling) -> Sampling:
    """JSON has two zeros, which are one number and two encodings."""
    zeros = {
        name: 0.0
        for name in sampling.__struct_fields__
        if isinstance(value := getattr(sampling, name), float) and not value
    }
    same = replace(sampling, **zeros) if zeros else sampling
    # The encoder leaves out what is the default itself, not what equals it.
    return _UNSAID if same == _UNSAID else same


def _binding(rules: Rules | None) -> Rules | None:
    if rules is None:
        return None
    binding = replace(rules, highest_price_micro=None)
    return None if binding == type(rules)() else binding
