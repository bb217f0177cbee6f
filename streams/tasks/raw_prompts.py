"""A raw prompt: a text that a model goes on with as it stands, past its chat template (docs/completions.md).

It stands in the place of messages, in a field of its own. So whoever does not know that field finds neither messages
nor texts and refuses the task; it is never answered as a conversation by mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.tasks.chat import Message

if TYPE_CHECKING:
    from streams.events import TaskSubmitted


def said_in(asked: TaskSubmitted) -> tuple[Message, ...]:
    """What a task says, to be counted, weighed or shown: its messages, or its raw prompt as if the user had said it.

    Never to be sent to an engine, which would put a template around it.
    """
    return (Message(role="user", content=asked.prompt),) if asked.prompt else asked.messages
