"""How an operator names a task: by its id, or by ``ACCOUNT/ID`` where several accounts have one of that id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streams.errors import InvalidTaskId, InvalidToken
from streams.tasks.task_id import parse_task_id
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.subjects import TaskKey
    from streams.tokens import Token

_NAMED: Final = 4
"""How many of the accounts a message lists: anybody may submit an id under an account of its own."""


class TaskName(NamedTuple):
    """An id, and the account if it was said."""

    account: Token | None
    task: Token


def parse_task_name(text: str) -> TaskName:
    """Read ``ID`` or ``ACCOUNT/ID``.

    Raises:
        InvalidTaskId: if it is neither.
    """
    account, slash, task = text.rpartition("/")
    try:
        return TaskName(token(account) if slash else None, parse_task_id(task))
    except InvalidToken as error:
        raise InvalidTaskId(f"{text!r} is neither a task id nor ACCOUNT/ID: {error}") from error


def of_several(keys: Iterable[TaskKey]) -> str:
    """Say that an id is not enough, for there are several such tasks."""
    names = sorted(f"{key.account}/{key.task}" for key in keys)
    more = "" if len(names) <= _NAMED else f" and {len(names) - _NAMED} more"
    return f"several accounts have a task of this id, so say whose you mean: {', '.join(names[:_NAMED])}{more}"
