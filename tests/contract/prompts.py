"""The committed set of prompts on which a continued answer equals the uninterrupted one.

Each is short enough to be cheap, and together they hold what makes a seam hard: code with indentation, characters of
several tokens, lists, numbers, a system message, a conversation, a long message.
"""

from __future__ import annotations

from typing import Final

from streams.tasks.chat import Message

PROMPTS: Final[dict[str, tuple[Message, ...]]] = {
    "story": (Message(role="user", content="Tell me a long story about the sea."),),
    "code": (Message(role="user", content="Write a Python function add(a, b)."),),
    "list": (Message(role="user", content="List five fruits, one on each line, with a number before each."),),
    "emoji": (Message(role="user", content="Repeat exactly: 🌊🦄🌊🦄 naïve café 海"),),
    "languages": (Message(role="user", content="Say hello in Japanese, Russian and Greek."),),
    "json": (Message(role="user", content='As JSON, {"city": ..., "country": ...}: where is the Eiffel Tower?'),),
    "system": (
        Message(role="system", content="You are a pirate. You answer in one sentence."),
        Message(role="user", content="Where is the treasure?"),
    ),
    "conversation": (
        Message(role="user", content="My name is Ada and I live in Oslo."),
        Message(role="assistant", content="Nice to meet you, Ada! How is the weather in Oslo?"),
        Message(role="user", content="It snows. What is my name, and where do I live?"),
    ),
    "long": (
        Message(
            role="user",
            content=(
                "Summarise in one sentence. A broker keeps events in the order in which they came. Who reads them may "
                "come back after a fall and goes on where it stopped: each event has a number, and nobody needs to "
                "remember more than that."
            ),
        ),
    ),
}
