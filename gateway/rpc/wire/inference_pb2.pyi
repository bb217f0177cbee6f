from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Urgency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    URGENCY_UNSPECIFIED: _ClassVar[Urgency]
    URGENCY_INTERACTIVE: _ClassVar[Urgency]
    URGENCY_STANDARD: _ClassVar[Urgency]
    URGENCY_BATCH: _ClassVar[Urgency]

class OnHangUp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_HANG_UP_UNSPECIFIED: _ClassVar[OnHangUp]
    ON_HANG_UP_CONTINUE: _ClassVar[OnHangUp]
    ON_HANG_UP_CANCEL: _ClassVar[OnHangUp]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_SYSTEM: _ClassVar[Role]
    ROLE_DEVELOPER: _ClassVar[Role]
    ROLE_USER: _ClassVar[Role]
    ROLE_ASSISTANT: _ClassVar[Role]
    ROLE_TOOL: _ClassVar[Role]

class ToolChoice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOOL_CHOICE_AUTO: _ClassVar[ToolChoice]
    TOOL_CHOICE_NONE: _ClassVar[ToolChoice]
    TOOL_CHOICE_REQUIRED: _ClassVar[ToolChoice]
    TOOL_CHOICE_NAMED: _ClassVar[ToolChoice]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_TOOL_CALLS: _ClassVar[FinishReason]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPLETED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
    OUTCOME_DEAD: _ClassVar[Outcome]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_SUBMITTED: _ClassVar[Phase]
    PHASE_WAITING: _ClassVar[Phase]
    PHASE_RUNNING: _ClassVar[Phase]
    PHASE_WRITTEN: _ClassVar[Phase]
    PHASE_HALTED: _ClassVar[Phase]
    PHASE_ENDED: _ClassVar[Phase]
URGENCY_UNSPECIFIED: Urgency
URGENCY_INTERACTIVE: Urgency
URGENCY_STANDARD: Urgency
URGENCY_BATCH: Urgency
ON_HANG_UP_UNSPECIFIED: OnHangUp
ON_HANG_UP_CONTINUE: OnHangUp
ON_HANG_UP_CANCEL: OnHangUp
ROLE_UNSPECIFIED: Role
ROLE_SYSTEM: Role
ROLE_DEVELOPER: Role
ROLE_USER: Role
ROLE_ASSISTANT: Role
ROLE_TOOL: Role
TOOL_CHOICE_AUTO: ToolChoice
TOOL_CHOICE_NONE: ToolChoice
TOOL_CHOICE_REQUIRED: ToolChoice
TOOL_CHOICE_NAMED: ToolChoice
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_TOOL_CALLS: FinishReason
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPLETED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_CANCELLED: Outcome
OUTCOME_DEAD: Outcome
PHASE_UNSPECIFIED: Phase
PHASE_SUBMITTED: Phase
PHASE_WAITING: Phase
PHASE_RUNNING: Phase
PHASE_WRITTEN: Phase
PHASE_HALTED: Phase
PHASE_ENDED: Phase

class SubmitRequest(_message.Message):
    __slots__ = ("model", "messages", "texts", "dimensions", "sampling", "tools", "format", "task", "idempotency_key", "urgency", "deadline_ms", "on_hang_up", "rules", "prompt", "file_search")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    URGENCY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ON_HANG_UP_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    FILE_SEARCH_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    texts: _containers.RepeatedScalarFieldContainer[str]
    dimensions: int
    sampling: Sampling
    tools: Tools
    format: OutputFormat
    task: str
    idempotency_key: str
    urgency: Urgency
    deadline_ms: int
    on_hang_up: OnHangUp
    rules: Rules
    prompt: str
    file_search: FileSearch
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping[str, object]]]] = ..., texts: _Optional[_Iterable[str]] = ..., dimensions: _Optional[int] = ..., sampling: _Optional[_Union[Sampling, _Mapping[str, object]]] = ..., tools: _Optional[_Union[Tools, _Mapping[str, object]]] = ..., format: _Optional[_Union[OutputFormat, _Mapping[str, object]]] = ..., task: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., urgency: _Optional[_Union[Urgency, str]] = ..., deadline_ms: _Optional[int] = ..., on_hang_up: _Optional[_Union[OnHangUp, str]] = ..., rules: _Optional[_Union[Rules, _Mapping[str, object]]] = ..., prompt: _Optional[str] = ..., file_search: _Optional[_Union[FileSearch, _Mapping[str, object]]] = ...) -> None: ...

class FileSearch(_message.Message):
    __slots__ = ("vector_store_ids", "max_results", "score_threshold", "filters_json", "max_rounds")
    VECTOR_STORE_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FILTERS_JSON_FIELD_NUMBER: _ClassVar[int]
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    vector_store_ids: _containers.RepeatedScalarFieldContainer[str]
    max_results: int
    score_threshold: float
    filters_json: str
    max_rounds: int
    def __init__(self, vector_store_ids: _Optional[_Iterable[str]] = ..., max_results: _Optional[int] = ..., score_threshold: _Optional[float] = ..., filters_json: _Optional[str] = ..., max_rounds: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content", "name", "parts", "tool_calls", "tool_call_id")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    role: Role
    content: str
    name: str
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    tool_call_id: str
    def __init__(self, role: _Optional[_Union[Role, str]] = ..., content: _Optional[str] = ..., name: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping[str, object]]]] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping[str, object]]]] = ..., tool_call_id: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("text", "image")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: Image
    def __init__(self, text: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping[str, object]]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("media_type", "data", "detail")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    data: bytes
    detail: str
    def __init__(self, media_type: _Optional[str] = ..., data: _Optional[bytes] = ..., detail: _Optional[str] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "top_logprobs")
    class LogitBiasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    presence_penalty: float
    frequency_penalty: float
    logit_bias: _containers.ScalarMap[int, float]
    top_logprobs: int
    def __init__(self, max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., logit_bias: _Optional[_Mapping[int, float]] = ..., top_logprobs: _Optional[int] = ...) -> None: ...

class Tools(_message.Message):
    __slots__ = ("functions", "choice", "name", "one_at_a_time")
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ONE_AT_A_TIME_FIELD_NUMBER: _ClassVar[int]
    functions: _containers.RepeatedCompositeFieldContainer[Function]
    choice: ToolChoice
    name: str
    one_at_a_time: bool
    def __init__(self, functions: _Optional[_Iterable[_Union[Function, _Mapping[str, object]]]] = ..., choice: _Optional[_Union[ToolChoice, str]] = ..., name: _Optional[str] = ..., one_at_a_time: _Optional[bool] = ...) -> None: ...

class Function(_message.Message):
    __slots__ = ("name", "description", "parameters_json", "strict")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    parameters_json: str
    strict: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., parameters_json: _Optional[str] = ..., strict: _Optional[bool] = ...) -> None: ...

class OutputFormat(_message.Message):
    __slots__ = ("json_object", "json_schema")
    JSON_OBJECT_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    json_object: bool
    json_schema: JsonSchema
    def __init__(self, json_object: _Optional[bool] = ..., json_schema: _Optional[_Union[JsonSchema, _Mapping[str, object]]] = ...) -> None: ...

class JsonSchema(_message.Message):
    __slots__ = ("name", "schema_json", "strict")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema_json: str
    strict: bool
    def __init__(self, name: _Optional[str] = ..., schema_json: _Optional[str] = ..., strict: _Optional[bool] = ...) -> None: ...

class Rules(_message.Message):
    __slots__ = ("policy", "region", "highest_price_micro", "lowest_reputation")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_PRICE_MICRO_FIELD_NUMBER: _ClassVar[int]
    LOWEST_REPUTATION_FIELD_NUMBER: _ClassVar[int]
    policy: str
    region: str
    highest_price_micro: int
    lowest_reputation: float
    def __init__(self, policy: _Optional[str] = ..., region: _Optional[str] = ..., highest_price_micro: _Optional[int] = ..., lowest_reputation: _Optional[float] = ...) -> None: ...

class SubmitReply(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("task", "after_n")
    TASK_FIELD_NUMBER: _ClassVar[int]
    AFTER_N_FIELD_NUMBER: _ClassVar[int]
    task: str
    after_n: int
    def __init__(self, task: _Optional[str] = ..., after_n: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("task", "reason")
    TASK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    task: str
    reason: str
    def __init__(self, task: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelReply(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ...) -> None: ...

class TaskEvent(_message.Message):
    __slots__ = ("task", "n", "accepted", "queued", "assigned", "chunk", "requeued", "halted", "ended")
    TASK_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    REQUEUED_FIELD_NUMBER: _ClassVar[int]
    HALTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    task: str
    n: int
    accepted: Accepted
    queued: Queued
    assigned: Assigned
    chunk: Chunk
    requeued: Requeued
    halted: Halted
    ended: Ended
    def __init__(self, task: _Optional[str] = ..., n: _Optional[int] = ..., accepted: _Optional[_Union[Accepted, _Mapping[str, object]]] = ..., queued: _Optional[_Union[Queued, _Mapping[str, object]]] = ..., assigned: _Optional[_Union[Assigned, _Mapping[str, object]]] = ..., chunk: _Optional[_Union[Chunk, _Mapping[str, object]]] = ..., requeued: _Optional[_Union[Requeued, _Mapping[str, object]]] = ..., halted: _Optional[_Union[Halted, _Mapping[str, object]]] = ..., ended: _Optional[_Union[Ended, _Mapping[str, object]]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Queued(_message.Message):
    __slots__ = ("position", "reason")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    position: int
    reason: str
    def __init__(self, position: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Assigned(_message.Message):
    __slots__ = ("attempt", "node", "model", "restarts")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    node: str
    model: str
    restarts: bool
    def __init__(self, attempt: _Optional[int] = ..., node: _Optional[str] = ..., model: _Optional[str] = ..., restarts: _Optional[bool] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("text", "tool_calls", "logprobs", "vectors", "tokens", "finish_reason", "usage")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCallPiece]
    logprobs: _containers.RepeatedCompositeFieldContainer[TokenLogprob]
    vectors: Vectors
    tokens: int
    finish_reason: FinishReason
    usage: TokenUsage
    def __init__(self, text: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCallPiece, _Mapping[str, object]]]] = ..., logprobs: _Optional[_Iterable[_Union[TokenLogprob, _Mapping[str, object]]]] = ..., vectors: _Optional[_Union[Vectors, _Mapping[str, object]]] = ..., tokens: _Optional[int] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[TokenUsage, _Mapping[str, object]]] = ...) -> None: ...

class ToolCallPiece(_message.Message):
    __slots__ = ("index", "id", "name", "arguments")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    name: str
    arguments: str
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("id", "name", "arguments")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    arguments: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class TokenLogprob(_message.Message):
    __slots__ = ("token", "logprob", "raw", "top")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    token: str
    logprob: float
    raw: bytes
    top: _containers.RepeatedCompositeFieldContainer[LikelyToken]
    def __init__(self, token: _Optional[str] = ..., logprob: _Optional[float] = ..., raw: _Optional[bytes] = ..., top: _Optional[_Iterable[_Union[LikelyToken, _Mapping[str, object]]]] = ...) -> None: ...

class LikelyToken(_message.Message):
    __slots__ = ("token", "logprob", "raw")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    token: str
    logprob: float
    raw: bytes
    def __init__(self, token: _Optional[str] = ..., logprob: _Optional[float] = ..., raw: _Optional[bytes] = ...) -> None: ...

class Vectors(_message.Message):
    __slots__ = ("count", "floats")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    count: int
    floats: bytes
    def __init__(self, count: _Optional[int] = ..., floats: _Optional[bytes] = ...) -> None: ...

class TokenUsage(_message.Message):
    __slots__ = ("prompt_tokens", "completion_tokens", "cached_prompt_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cached_prompt_tokens: _Optional[int] = ...) -> None: ...

class Requeued(_message.Message):
    __slots__ = ("attempt", "node", "code", "message")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    node: str
    code: str
    message: str
    def __init__(self, attempt: _Optional[int] = ..., node: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Halted(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("outcome", "error")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    error: TaskError
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., error: _Optional[_Union[TaskError, _Mapping[str, object]]] = ...) -> None: ...

class TaskError(_message.Message):
    __slots__ = ("code", "message", "status", "param")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    status: int
    param: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., status: _Optional[int] = ..., param: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task", "created_ms", "model", "phase", "n", "node", "attempt", "text", "tool_calls", "vectors", "finish_reason", "usage", "outcome", "error", "searched", "citations")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    task: str
    created_ms: int
    model: str
    phase: Phase
    n: int
    node: str
    attempt: int
    text: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    vectors: Vectors
    finish_reason: FinishReason
    usage: TokenUsage
    outcome: Outcome
    error: TaskError
    searched: _containers.RepeatedScalarFieldContainer[str]
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    def __init__(self, task: _Optional[str] = ..., created_ms: _Optional[int] = ..., model: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., n: _Optional[int] = ..., node: _Optional[str] = ..., attempt: _Optional[int] = ..., text: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping[str, object]]]] = ..., vectors: _Optional[_Union[Vectors, _Mapping[str, object]]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[TokenUsage, _Mapping[str, object]]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., error: _Optional[_Union[TaskError, _Mapping[str, object]]] = ..., searched: _Optional[_Iterable[str]] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping[str, object]]]] = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("index", "vector_store_id", "file_id", "filename", "support", "first", "last", "page", "headings")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VECTOR_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    HEADINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    vector_store_id: str
    file_id: str
    filename: str
    support: str
    first: int
    last: int
    page: int
    headings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, index: _Optional[int] = ..., vector_store_id: _Optional[str] = ..., file_id: _Optional[str] = ..., filename: _Optional[str] = ..., support: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., page: _Optional[int] = ..., headings: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("task", "happened", "caught_up")
    TASK_FIELD_NUMBER: _ClassVar[int]
    HAPPENED_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    task: Task
    happened: TaskEvent
    caught_up: CaughtUp
    def __init__(self, task: _Optional[_Union[Task, _Mapping[str, object]]] = ..., happened: _Optional[_Union[TaskEvent, _Mapping[str, object]]] = ..., caught_up: _Optional[_Union[CaughtUp, _Mapping[str, object]]] = ...) -> None: ...

class CaughtUp(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsReply(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping[str, object]]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "kind", "context_tokens", "engine", "quantisation", "replicas", "slots", "tiers", "created_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    QUANTISATION_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    context_tokens: int
    engine: str
    quantisation: str
    replicas: int
    slots: int
    tiers: _containers.RepeatedScalarFieldContainer[str]
    created_ms: int
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., context_tokens: _Optional[int] = ..., engine: _Optional[str] = ..., quantisation: _Optional[str] = ..., replicas: _Optional[int] = ..., slots: _Optional[int] = ..., tiers: _Optional[_Iterable[str]] = ..., created_ms: _Optional[int] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Usage(_message.Message):
    __slots__ = ("allowances",)
    ALLOWANCES_FIELD_NUMBER: _ClassVar[int]
    allowances: _containers.RepeatedCompositeFieldContainer[Allowance]
    def __init__(self, allowances: _Optional[_Iterable[_Union[Allowance, _Mapping[str, object]]]] = ...) -> None: ...

class Allowance(_message.Message):
    __slots__ = ("scope", "kind", "limit", "remaining", "reset_ms")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RESET_MS_FIELD_NUMBER: _ClassVar[int]
    scope: str
    kind: str
    limit: int
    remaining: int
    reset_ms: int
    def __init__(self, scope: _Optional[str] = ..., kind: _Optional[str] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., reset_ms: _Optional[int] = ...) -> None: ...
