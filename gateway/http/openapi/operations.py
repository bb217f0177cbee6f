"""Every path that a gateway serves, with the types of its requests and answers: here they stand together."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta

from gateway.auth.proofs import Challenge, ChallengeRequest, SignedIn, SignInProof
from gateway.batches.handlers import MOST_OF_PAGE, BatchList, BatchObject, BatchRequest
from gateway.files.handlers import FileGone, FileList, FileObject
from gateway.files.pieces import CompleteRequest, UploadObject, UploadPart, UploadRequest
from gateway.http import boundary
from gateway.http.chat.answer import ChatCompletion
from gateway.http.chat.request import ChatRequest
from gateway.http.completions.answer import Completion
from gateway.http.completions.request import CompletionRequest
from gateway.http.embeddings.answer import EmbeddingList
from gateway.http.embeddings.request import EmbeddingRequest
from gateway.http.health import Readiness
from gateway.http.messages.errors import MessagesError
from gateway.http.messages.frames import MessageEvent
from gateway.http.messages.objects import Message
from gateway.http.messages.request import MessagesRequest
from gateway.http.models import ModelList, ModelObject
from gateway.http.openapi.operation import Operation, Parameter
from gateway.http.openapi.store_operations import STORE_OPERATIONS
from gateway.http.responses.events import StreamEvent
from gateway.http.responses.items import MOST, InputList
from gateway.http.responses.objects import Deleted, Response
from gateway.http.responses.request import ResponseRequest
from gateway.http.sign_ins import CallerObject
from gateway.http.tasks import CancelAnswer, TaskSummary
from gateway.usage.handlers import COSTS_PATH, USAGE_PATH
from gateway.usage.objects import CostList, UsageList
from gateway.usage.query import MOST_DAYS
from streams.events import TaskEvent
from streams.files.events import FilePurpose

_ABOUT_TASK: Final = (
    Parameter("x-ig3-task", str, "header", "The id of the task, chosen by the client: a UUIDv7."),
    Parameter("Idempotency-Key", str, "header", "The same key and body are one task."),
    Parameter("x-ig3-urgency", Literal["interactive", "standard", "batch"], "header", "How urgent it is."),
    Parameter("x-ig3-deadline-ms", Annotated[int, Meta(ge=1)], "header", "How long it may take, from now."),
    Parameter("x-ig3-on-disconnect", Literal["continue", "cancel"], "header", "What a hang-up means."),
    Parameter("x-ig3-policy", str, "header", "How a node is chosen."),
    Parameter("x-ig3-region", str, "header", "Only nodes that say this region."),
    Parameter("x-ig3-max-price", str, "header", "The highest price for a million tokens."),
    Parameter("x-ig3-min-reputation", str, "header", "The lowest reputation of a node, 0 to 1."),
    Parameter("x-ig3-redaction", str, "header", "What providers outside are not to see: off, standard or strict."),
    Parameter("Last-Event-ID", Annotated[int, Meta(ge=0)], "header", "On a stream: go on behind this event."),
)
_TASK: Final = Parameter("task", str, "path", "The id of a task.")
_RESPONSE: Final = Parameter("response", str, "path", "The id of a response.")
_FILE: Final = Parameter("file", str, "path", "The id of a file.")
_UPLOAD: Final = Parameter("upload", str, "path", "The id of an upload.")
_BATCH: Final = Parameter("batch", str, "path", "The id of a batch.")
_BATCH_PAGE: Final = (
    Parameter("limit", Annotated[int, Meta(ge=1, le=MOST_OF_PAGE)], "query", "How many batches."),
    Parameter("after", str, "query", "The batch behind which to begin."),
)
_COUNTER: Final = (
    Parameter("after", Annotated[int, Meta(ge=0)], "query", "The last counter that the client has."),
    Parameter("Last-Event-ID", Annotated[int, Meta(ge=0)], "header", "The same; goes before it."),
)
_PAGE: Final = (
    Parameter("limit", Annotated[int, Meta(ge=1, le=MOST)], "query", "How many items."),
    Parameter("order", Literal["asc", "desc"], "query", "By age."),
    Parameter("after", str, "query", "The item behind which to begin."),
)
_USAGE: Final = (
    Parameter("start_time", Annotated[int, Meta(ge=0)], "query", "Unix seconds: from the day (UTC) of this moment on."),
    Parameter("end_time", Annotated[int, Meta(ge=0)], "query", "Unix seconds: up to the day of this moment."),
    Parameter("bucket_width", Literal["1d"], "query", "How long a bucket is."),
    Parameter("limit", Annotated[int, Meta(ge=1, le=MOST_DAYS)], "query", "How many days."),
    Parameter("page", str, "query", "The next_page of the page before."),
    Parameter("group_by", tuple[Literal["model", "api_key_id", "line_item"], ...], "query", "What is told apart."),
    Parameter("models", tuple[str, ...], "query", "Only these models."),
    Parameter("api_key_ids", tuple[str, ...], "query", "Only these keys."),
)
_AGAIN: Final = (
    Parameter("stream", bool, "query", "Whether its events are wanted."),
    Parameter("starting_after", Annotated[int, Meta(ge=-1)], "query", "Only events behind this number."),
)

OPERATIONS: Final = (
    Operation(
        "post",
        boundary.CHAT_PATH,
        "Ask a model, as OpenAI's chat API does.",
        request=ChatRequest,
        answer=ChatCompletion,
        events=(str,),
        parameters=_ABOUT_TASK,
    ),
    Operation(
        "post",
        boundary.COMPLETIONS_PATH,
        "Ask a model, as OpenAI's older completions API does.",
        request=CompletionRequest,
        answer=Completion,
        events=(Completion,),
        parameters=_ABOUT_TASK,
    ),
    Operation(
        "post",
        boundary.EMBEDDINGS_PATH,
        "A vector for each of some texts.",
        request=EmbeddingRequest,
        answer=EmbeddingList,
        parameters=_ABOUT_TASK[:-1],
    ),
    Operation(
        "post",
        boundary.MESSAGES_PATH,
        "Ask a model, as Anthropic's API does.",
        request=MessagesRequest,
        answer=Message,
        events=get_args(MessageEvent),
        parameters=_ABOUT_TASK,
        error=MessagesError,
    ),
    Operation(
        "post",
        boundary.RESPONSES_PATH,
        "Ask a model, as OpenAI's Responses API does.",
        request=ResponseRequest,
        answer=Response,
        events=get_args(StreamEvent),
        parameters=_ABOUT_TASK,
    ),
    Operation(
        "get",
        "/v1/responses/{response}",
        "A response as it stands, or its events.",
        answer=Response,
        events=get_args(StreamEvent),
        parameters=(_RESPONSE, *_AGAIN),
    ),
    Operation(
        "delete", "/v1/responses/{response}", "Show a response no more.", answer=Deleted, parameters=(_RESPONSE,)
    ),
    Operation("post", "/v1/responses/{response}/cancel", "End a response.", answer=Response, parameters=(_RESPONSE,)),
    Operation(
        "get",
        "/v1/responses/{response}/input_items",
        "What a response was asked with.",
        answer=InputList,
        parameters=(_RESPONSE, *_PAGE),
    ),
    Operation(
        "post",
        "/v1/files",
        "Put a file on the mesh: a form with the fields purpose and file.",
        answer=FileObject,
        media_type="application/json",
    ),
    Operation(
        "get",
        "/v1/files",
        "The account's files, the newest first.",
        answer=FileList,
        parameters=(Parameter("purpose", FilePurpose, "query", "Only files for this."),),
    ),
    Operation("get", "/v1/files/{file}", "What a file is.", answer=FileObject, parameters=(_FILE,)),
    Operation(
        "get",
        "/v1/files/{file}/content",
        "The bytes of a file.",
        media_type="application/octet-stream",
        parameters=(_FILE,),
    ),
    Operation("delete", "/v1/files/{file}", "Delete a file.", answer=FileGone, parameters=(_FILE,)),
    Operation(
        "post",
        "/v1/uploads",
        "Begin a file that comes in several parts.",
        request=UploadRequest,
        answer=UploadObject,
    ),
    Operation(
        "post",
        "/v1/uploads/{upload}/parts",
        "Add a part: a form with the field data.",
        answer=UploadPart,
        media_type="application/json",
        parameters=(_UPLOAD,),
    ),
    Operation(
        "post",
        "/v1/uploads/{upload}/complete",
        "Make parts a file.",
        request=CompleteRequest,
        answer=UploadObject,
        parameters=(_UPLOAD,),
    ),
    Operation(
        "post", "/v1/uploads/{upload}/cancel", "Want no more of an upload.", answer=UploadObject, parameters=(_UPLOAD,)
    ),
    Operation(
        "post",
        "/v1/batches",
        "Have the requests of a file answered when there is room.",
        request=BatchRequest,
        answer=BatchObject,
    ),
    Operation(
        "get", "/v1/batches", "The account's batches, the newest first.", answer=BatchList, parameters=_BATCH_PAGE
    ),
    Operation("get", "/v1/batches/{batch}", "How a batch stands.", answer=BatchObject, parameters=(_BATCH,)),
    Operation(
        "post", "/v1/batches/{batch}/cancel", "Want no more of a batch.", answer=BatchObject, parameters=(_BATCH,)
    ),
    Operation("get", USAGE_PATH, "Tokens and requests of the account, by day.", answer=UsageList, parameters=_USAGE),
    Operation("get", COSTS_PATH, "What the account was charged, by day.", answer=CostList, parameters=_USAGE),
    *STORE_OPERATIONS,
    Operation("get", "/v1/models", "The models that the mesh can serve now.", answer=ModelList),
    Operation(
        "get",
        "/v1/models/{model}",
        "One model; its id may hold slashes.",
        answer=ModelObject,
        parameters=(Parameter("model", str, "path", "The id of a model."),),
    ),
    Operation("get", "/v1/tasks/{task}", "What a task has become.", answer=TaskSummary, parameters=(_TASK,)),
    Operation(
        "get",
        "/v1/tasks/{task}/events",
        "The events of a task, past ones first; 204: there are no more.",
        events=get_args(TaskEvent),
        parameters=(_TASK, *_COUNTER),
    ),
    Operation("post", "/v1/tasks/{task}/cancel", "End a task.", answer=CancelAnswer, parameters=(_TASK,)),
    Operation(
        "post",
        "/v1/auth/challenge",
        "What to sign, to sign in.",
        request=ChallengeRequest,
        answer=Challenge,
        is_open=True,
    ),
    Operation(
        "post",
        "/v1/auth/login",
        "A session for whoever has signed.",
        request=SignInProof,
        answer=SignedIn,
        is_open=True,
    ),
    Operation("post", "/v1/auth/renew", "Another token of the session that is shown.", answer=SignedIn),
    Operation("post", "/v1/auth/sign-out", "End the session that is shown.", status=204),
    Operation("get", "/v1/auth/me", "Who asks.", answer=CallerObject),
    Operation("get", "/healthz", "This process lives.", answer=dict[str, str], is_open=True),
    Operation("get", "/readyz", "It could serve a request now; 503: why not.", answer=Readiness, is_open=True),
    Operation("get", "/metrics", "Counters for Prometheus.", media_type="text/plain"),
    Operation("get", boundary.OPENAPI_PATH, "This document.", answer=dict[str, Any], is_open=True),
    Operation("get", "/ws", "The websocket (docs/websocket.md).", status=101, is_open=True),
    Operation("get", "/", "The live page.", media_type="text/html", is_open=True),
    Operation(
        "get",
        "/page/{file}",
        "A file of the live page.",
        media_type="*/*",
        parameters=(Parameter("file", str, "path", "Its name."),),
        is_open=True,
    ),
)
