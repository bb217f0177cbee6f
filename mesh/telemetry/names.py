"""Every metric and span name of the mesh, in one place: OpenTelemetry's GenAI conventions where they have one.

Units stand in the instrument, not in the name, as the conventions want; Prometheus appends them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Instrument(NamedTuple):
    """One metric: its name, its unit (UCUM), what it says, and bucket bounds for a histogram."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_PER_TOKEN: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.4, 1.0)
_TOKENS: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)

REQUEST_DURATION: Final = Instrument(
    "gen_ai.server.request.duration", "s", "From the request to the end of its answer.", _SECONDS
)
TIME_TO_FIRST_TOKEN: Final = Instrument(
    "gen_ai.server.time_to_first_token", "s", "From the request to the first piece of its answer.", _SECONDS
)
TIME_PER_OUTPUT_TOKEN: Final = Instrument(
    "gen_ai.server.time_per_output_token", "s", "Per token after the first.", _PER_TOKEN
)
TOKEN_USAGE: Final = Instrument("gen_ai.client.token.usage", "{token}", "Tokens of a task, by type.", _TOKENS)
OPEN_STREAMS: Final = Instrument("ig3.gateway.open_streams", "{stream}", "Answers being read through this gateway.")
CACHE_REQUESTS: Final = Instrument(
    "ig3.gateway.cache_requests", "{request}", "Chat requests by what the response cache had for them."
)
CACHE_STORED: Final = Instrument(
    "ig3.gateway.cache_stored", "By", "Bytes of answers that this gateway has put into the response cache."
)
TASKS_HELD: Final = Instrument("ig3.dispatcher.tasks_held", "{task}", "Tasks that this dispatcher holds, by class.")
TASKS_ENDED: Final = Instrument("ig3.dispatcher.tasks_ended", "{task}", "Tasks that this dispatcher ended, by outcome.")
FILES_TAKEN_IN: Final = Instrument(
    "ig3.retrieval.files", "{file}", "Files that this process took into vector stores, by outcome or error code."
)
LEDGER_SETTLED: Final = Instrument(
    "ig3.ledger.settled", "{task}", "Ends of tasks that this ledger has put in the books."
)
LEDGER_SUSPENDED: Final = Instrument(
    "ig3.ledger.suspended", "{entry}", "What this ledger could not charge by the rule, by reason: somebody must look."
)
LEDGER_HOLDS: Final = Instrument("ig3.ledger.holds", "{task}", "Tasks that asked this ledger for a hold, by answer.")
LEDGER_RELEASED: Final = Instrument(
    "ig3.ledger.released", "{hold}", "Holds that this ledger gave back, since the end of their task can come no more."
)
LEDGER_BY_ITSELF: Final = Instrument(
    "ig3.ledger.by_itself", "{thing}", "What this ledger has done by the calendar: months, weeks, payouts."
)
LEDGER_LAG: Final = Instrument(
    "ig3.ledger.lag", "s", "From the end of a task to its entry in the books, by the clocks of both.", _SECONDS
)

SPAN_REQUEST: Final = "chat"
SPAN_DISPATCH: Final = "dispatch"
SPAN_GENERATE: Final = "generate"

ATTRIBUTE_OPERATION: Final = "gen_ai.operation.name"
ATTRIBUTE_MODEL: Final = "gen_ai.request.model"
ATTRIBUTE_COUNTED: Final = "gen_ai.token.type"
ATTRIBUTE_TOKENS: Final = "gen_ai.usage.output_tokens"
ATTRIBUTE_TASK: Final = "ig3.task"
ATTRIBUTE_NODE: Final = "ig3.node"
ATTRIBUTE_ATTEMPT: Final = "ig3.attempt"
ATTRIBUTE_OUTCOME: Final = "ig3.outcome"
ATTRIBUTE_CLASS: Final = "ig3.class"
ATTRIBUTE_CACHE: Final = "ig3.cache"
