"""The one line of curl from the README, and what comes back on the wire."""

import json
import subprocess
from typing import Any

import pytest

from tests.processes import PATIENCE_S, wait_until
from tests.running_mesh import SMALL_EMBEDDING_MODEL, SMALL_MODEL, RunningMesh

pytestmark = pytest.mark.timeout(240)


def curl(*arguments: str) -> tuple[dict[str, str], str]:
    """Run curl; returns the answer's headers and its body."""
    done = subprocess.run(
        ["curl", "-sS", "-N", "-D", "/dev/stderr", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    status, *lines = done.stderr.split("\n\n")[0].splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return {"status": status.split()[1], **headers}, done.stdout


def ask(mesh: RunningMesh, **wishes: Any) -> tuple[dict[str, str], str]:
    body = {"model": mesh.model, "messages": [{"role": "user", "content": "Why is the sky blue?"}], **wishes}
    return curl(f"{mesh.url}/v1/chat/completions", "-H", "content-type: application/json", "-d", json.dumps(body))


def test_an_answer_streams_in(smollm: RunningMesh) -> None:
    # What is written while a process stands still comes in one piece: asked again until it came in several.
    wait_until(lambda: pieces_of_an_answer(smollm) > 3)


def pieces_of_an_answer(smollm: RunningMesh) -> int:
    headers, body = ask(smollm, stream=True, max_tokens=20)
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    events = body.rstrip("\n").split("\n\n")
    assert events[-1].endswith("data: [DONE]")
    chunks = [json.loads(event.partition("data: ")[2]) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert len(text.split()) > 5
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{headers['x-ig3-task']}"}
    ids = [int(event.partition("\n")[0].removeprefix("id: ")) for event in events if event.startswith("id: ")]
    assert ids == sorted(set(ids))
    return len(ids)


def test_an_answer_comes_whole(smollm: RunningMesh) -> None:
    headers, body = ask(smollm, max_tokens=5)
    answer = json.loads(body)
    assert (headers["status"], headers["content-type"]) == ("200", "application/json")
    assert headers["x-request-id"].startswith("req_")
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["choices"][0]["finish_reason"] == "length"


def test_models(smollm: RunningMesh) -> None:
    _, body = curl(f"{smollm.url}/v1/models")
    listed = json.loads(body)
    assert [(model["id"], model["engine"], model["context_tokens"]) for model in listed["data"]] == [
        (SMALL_EMBEDDING_MODEL, "minilm", 256),
        (SMALL_MODEL, "xllamacpp", 2048),
    ]


def test_the_mesh_says_that_it_is_ready(smollm: RunningMesh) -> None:
    headers, body = curl(f"{smollm.url}/readyz")
    assert headers["status"] == "200"
    assert json.loads(body) == {
        "status": "ready",
        "reason": None,
        "live_nodes": 1,
        "models": [SMALL_EMBEDDING_MODEL, SMALL_MODEL],
    }


def test_a_page_of_another_site_gets_nothing(smollm: RunningMesh) -> None:
    headers, body = curl(f"{smollm.url}/v1/models", "-H", "Origin: https://evil.example")
    assert headers["status"] == "403"
    assert SMALL_MODEL not in body


def test_a_mistake_is_told_in_openais_shape(smollm: RunningMesh) -> None:
    headers, body = curl(f"{smollm.url}/v1/chat/completions", "-H", "content-type: application/json", "-d", "{")
    assert headers["status"] == "400"
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_who_forgets_the_content_type_is_told_what_to_send(smollm: RunningMesh) -> None:
    headers, body = curl(f"{smollm.url}/v1/chat/completions", "-d", "{}")
    assert headers["status"] == "415"
    assert "application/json" in json.loads(body)["error"]["message"]
