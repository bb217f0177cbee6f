"""What a dispatcher tells a node: here is work (``node.<node>.assign``), and it is void (``node.<node>.stop``)."""

from __future__ import annotations

from streams.events import Attempt, Seam
from streams.tasks.answer_parts import ToolCallPiece
from streams.tasks.chat import Count, Message, Sampling
from streams.tasks.placing import Redaction
from streams.tasks.tools import OutputFormat, Tools
from streams.tasks.vectors import Dimensions, Texts
from streams.wire import Wire


class Assign(Wire, frozen=True, kw_only=True, tag="node.assign.v1"):
    """Work for a node. The reply subject of the message is the results subject: the right to write there.

    ``next_n`` and ``last_sequence`` are where the first chunk goes; ``prefix`` is text already published,
    of ``prefix_tokens`` tokens: they count in ``sampling.max_tokens`` and in the usage of the whole answer.
    ``texts`` instead of ``messages`` are to become vectors; those of ``first`` texts before them are published.
    """

    account: str
    task: str
    attempt: Attempt
    next_n: int
    last_sequence: int
    model: str
    messages: tuple[Message, ...] = ()
    sampling: Sampling
    dispatcher: str
    prefix: str = ""
    prefix_tokens: Count = 0
    deadline_at_ms: int | None = None
    seam: Seam | None = None
    """How to join ``prefix``; it is empty where the answer begins, or begins again."""
    written: Count = 0
    """How many characters at the end of ``prefix`` are of this very attempt: a node that does not know it any more was
    started again, and cannot sign for what it has forgotten."""
    tools: Tools | None = None
    format: OutputFormat | None = None
    prefix_calls: tuple[ToolCallPiece, ...] = ()
    """Calls that are published behind ``prefix``, one piece each, the last of them perhaps not whole."""
    texts: Texts = ()
    first: Count = 0
    dimensions: Dimensions | None = None
    hedge: bool = False
    """Whether another node has the task: then there is no reply subject, so no right to write. The node begins, keeps
    what it has to itself, and asks (``Ask.hedge``) until the same attempt is assigned to it or stopped (ADR 18)."""
    redaction: Redaction | None = None
    """As in the task's rules."""
    prompt: str = ""
    """Instead of ``messages``: what the model goes on with as it stands (``streams.tasks.raw_prompts``)."""


class Stop(Wire, frozen=True, kw_only=True, tag="node.stop.v1"):
    """The attempt is void: stop generating, write nothing more."""

    task: str
    attempt: Attempt
    reason: str
    account: str = ""
