"""The committed set of prompts on which a continued answer equals the uninterrupted one.

Each is short enough to be cheap, and together they hold what makes a seam hard: code with indentation, characters of
several tokens, lists, numbers, a system message, a conversation, a long message.
"""

from __future__ import annotations

from typing import Final

from streams.chat import Message

PROMPTS: Final[dict[str, tuple[Message, ...]]] = {
    "story": (Message(role="user", content="Tell me a long story about the sea."),),
    "code": (Message(role="user", content="Write a Python function that returns the sum of a list of numbers."),),
    "list": (Message(role="user", content="List five fruits, one on each line, with a number before each."),),
    "emoji": (Message(role="user", content="Repeat exactly: 🦄🌊🦄🌊🦄🌊 naïve café 海"),),
    "json": (Message(role="user", content='Answer with JSON only: {"city": ..., "country": ...} for the Eiffel Tower.'),),
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
                "Summarise in two sentences. A message broker takes events from those who write them and keeps them in "
                "the order in which they came. Who reads may come later, or come back after a fall, and begins where "
                "it stopped. Because each event has a number, nobody needs to remember more than one number to go on."
            ),
        ),
    ),
}
