"""What a response was asked with, as a list of items that clients page through."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from gateway.http.errors import ApiError
from streams.tasks.chat import ImagePart, Role, TextPart
from streams.tasks.grounding import own_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.http.responses.history import Kept
    from streams.tasks.chat import Message

MOST: int = 100
USUAL: int = 20


class InputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of what was asked."""

    text: str


class SaidText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of what a model had said before."""

    text: str
    annotations: tuple[None, ...] = ()


class InputImage(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """A picture in what was asked."""

    image_url: str
    detail: str


class InputMessage(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """One message of the input."""

    id: str
    status: Literal["completed"] = "completed"
    role: Role
    content: tuple[InputText | SaidText | InputImage, ...]


class CalledFunction(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model had made before."""

    id: str
    status: Literal["completed"] = "completed"
    call_id: str
    name: str
    arguments: str


class CallResult(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What came of a call."""

    id: str
    status: Literal["completed"] = "completed"
    call_id: str
    output: str


AnyItem = InputMessage | CalledFunction | CallResult


class InputList(Struct, frozen=True, kw_only=True):
    """A page of them."""

    object: Literal["list"] = "list"
    data: tuple[AnyItem, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Page(Struct, frozen=True, kw_only=True):
    """Which items are wanted."""

    limit: Annotated[int, Meta(ge=1, le=MOST)] = USUAL
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


def page_of(kept: Kept, page: Page) -> InputList:
    """Return what this response itself was asked with: no instructions, and nothing that was said before.

    Raises:
        ApiError: 400 if ``page.after`` is none of its items.
    """
    first = int(kept.terms.instructed) + kept.terms.earlier
    said = enumerate(own_messages(kept.asked.messages, kept.asked.grounding)[first:])
    items = [item for number, message in said for item in _items(f"{kept.key.task}_{number}", message)]
    if page.order == "desc":
        items.reverse()
    if page.after is not None:
        ids = [item.id for item in items]
        if page.after not in ids:
            raise ApiError(
                400, f"No input item {page.after[:100]!r} is known here.", code="invalid_value", param="after"
            )
        items = items[ids.index(page.after) + 1 :]
    shown = tuple(items[: page.limit])
    return InputList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(items) > len(shown),
    )


def _items(name: str, message: Message) -> Iterator[AnyItem]:
    if message.role == "tool":
        yield CallResult(id=f"fco_{name}", call_id=message.tool_call_id or "", output=message.content)
        return
    if message.content or message.parts or not message.tool_calls:
        parts = message.parts or (TextPart(text=message.content),)
        content = tuple([_part(part, of_model=message.role == "assistant") for part in parts])
        yield InputMessage(id=f"msg_{name}", role=message.role, content=content)
    for at, call in enumerate(message.tool_calls):
        yield CalledFunction(id=f"fc_{name}_{at}", call_id=call.id, name=call.name, arguments=call.arguments)


def _part(part: TextPart | ImagePart, *, of_model: bool) -> InputText | SaidText | InputImage:
    if isinstance(part, ImagePart):
        url = f"data:{part.media_type};base64,{b64encode(part.data).decode()}"
        return InputImage(image_url=url, detail=part.detail)
    return SaidText(text=part.text) if of_model else InputText(text=part.text)
