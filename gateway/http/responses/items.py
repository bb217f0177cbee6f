"""What a response was asked with, as a list of items that clients page through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from gateway.http.errors import ApiError
from streams.chat import Role

if TYPE_CHECKING:
    from gateway.http.responses.history import Kept
    from streams.chat import Message

MOST: int = 100
USUAL: int = 20


class InputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of what was asked."""

    text: str


class SaidText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of what a model had said before."""

    text: str
    annotations: tuple[None, ...] = ()


class InputMessage(Struct, frozen=True, kw_only=True):
    """One message of the input."""

    id: str
    type: Literal["message"] = "message"
    status: Literal["completed"] = "completed"
    role: Role
    content: tuple[InputText | SaidText, ...]


class InputList(Struct, frozen=True, kw_only=True):
    """A page of them."""

    object: Literal["list"] = "list"
    data: tuple[InputMessage, ...]
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
    items = [
        _item(f"msg_{kept.key.task}_{number}", message) for number, message in enumerate(kept.asked.messages[first:])
    ]
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


def _item(name: str, message: Message) -> InputMessage:
    text = message.content
    part = SaidText(text=text) if message.role == "assistant" else InputText(text=text)
    return InputMessage(id=name, role=message.role, content=(part,))
