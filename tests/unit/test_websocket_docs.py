"""The protocol page against the code: what is documented exists, and what exists is documented."""

import re
from pathlib import Path

import msgspec
import pytest

from gateway.bridge import board, frames, outbox, session, task_follower
from gateway.bridge.close_codes import CLOSE_CODES
from gateway.bridge.frames import CLIENT_FRAMES, GATEWAY_FRAMES, ClientFrame, GatewayFrame
from gateway.bridge.wire import FORMATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/websocket.md").read_text()
EXAMPLES = [line for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("kind", [*CLIENT_FRAMES, *GATEWAY_FRAMES], ids=lambda kind: kind.__name__)
def test_every_frame_is_listed_with_all_of_its_fields(kind: type[msgspec.Struct]) -> None:
    tag = kind.__struct_config__.tag
    [listed] = [set(re.findall(r"`(\w+)`", row[1])) for row in ROWS if row[0] == f"`{tag}`"]
    assert listed == fields_of(kind)


@pytest.mark.parametrize("kind", [frames.TaskView, frames.NodeState, frames.ModelState, frames.TaskHappening])
def test_every_field_of_what_frames_hold_is_named(kind: type[msgspec.Struct]) -> None:
    assert {name for name in fields_of(kind) if f"`{name}`" not in PAGE} == set()


def test_no_frame_is_left_out_of_the_lists() -> None:
    assert set(CLIENT_FRAMES) == set(ClientFrame.__args__)
    assert set(GATEWAY_FRAMES) == set(GatewayFrame.__args__)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_frame(example: str) -> None:
    frame = msgspec.json.decode(example)
    kind = next(kind for kind in (*CLIENT_FRAMES, *GATEWAY_FRAMES) if kind.__struct_config__.tag == frame["type"])
    assert isinstance(msgspec.json.decode(example, type=kind), kind)
    assert frame.keys() <= fields_of(kind) | {"type"}


def test_there_are_examples_of_both_directions() -> None:
    kinds = {msgspec.json.decode(example)["type"] for example in EXAMPLES}
    assert {"subscribe", "cancel", "hello", "events", "error"} <= kinds


def test_every_close_code_is_listed_as_it_is() -> None:
    listed = {(int(row[0]), row[1], row[2]) for row in ROWS if row[0].isdigit()}
    assert listed == {(code.code, code.name, code.come_back) for code in CLOSE_CODES}


@pytest.mark.parametrize("code", CLOSE_CODES, ids=lambda code: code.name)
def test_a_close_code_says_by_its_range_whether_to_come_back_and_fits_its_frame(code) -> None:
    assert len(code.meaning.encode()) <= 123
    if code.code >= 4000:
        assert (code.come_back == "never") == (4400 <= code.code < 4500)


def test_every_error_code_is_listed() -> None:
    written = {
        found
        for path in (ROOT / "gateway/bridge").glob("*.py")
        for found in re.findall(r'(?:RequestRefused\(\s*|code=|_refusal\(frame, )"(\w+)"', path.read_text())
    }
    heading = PAGE.index("## Errors")
    assert written == set(re.findall(r"^\| `(\w+)` \|", PAGE[heading:], re.MULTILINE))


def test_the_numbers_are_those_of_the_code() -> None:
    assert set(FORMATS) == {"ig3.v1.json", "ig3.v1.msgpack"}
    assert f"outbox of {outbox.LIMIT_BYTES // 1024} KiB" in PAGE
    assert f"took nothing for {outbox.PATIENCE_S:.0f} s" in PAGE
    assert f"More than {session.BAD_FRAMES_ALLOWED} frames" in PAGE
    assert f"latest {board.SHOWN} tasks" in PAGE
    assert f"more than {board.FOLLOWED}\ntasks run at once" in PAGE
    assert f"up to {task_follower.EVENTS_PER_FRAME} events in a frame" in PAGE
