"""Who a node is, over restarts and beside other nodes."""

import socket
from pathlib import Path

import pytest

from nodes.node_id import UnusableNodeId, fresh_node_id, node_id
from streams.tokens import token


def test_an_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = node_id(None, tmp_path / "data")
    assert node_id(None, tmp_path / "data") == first
    assert node_id(None, tmp_path / "other") != first


def test_nodes_that_share_a_folder_have_ids_of_their_own(tmp_path: Path) -> None:
    ids = [node_id(None, tmp_path, instance=number) for number in (1, 2, 3)]
    assert len(set(ids)) == 3
    assert [node_id(None, tmp_path, instance=number) for number in (1, 2, 3)] == ids


def test_a_given_id_is_used_and_not_kept(tmp_path: Path) -> None:
    assert node_id("given", tmp_path) == "given"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["", "a.b", "a b", "*", ">", "x" * 65, "é", "mesh"])
def test_an_id_that_cannot_stand_in_a_subject_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableNodeId, match="--id"):
        node_id(given, tmp_path)


@pytest.mark.parametrize("content", [b"", b"a b", b"\xff\xfe", b"mesh\n"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "node-id"
    path.write_bytes(content)
    with pytest.raises(UnusableNodeId, match="node-id"):
        node_id(None, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnusableNodeId, match="cannot keep"):
        node_id(None, tmp_path / "file")


@pytest.mark.parametrize("host", ["build.example.org", "Kitchen PI (2)", "naïve", "...", "", "h" * 200])
def test_any_host_s_name_becomes_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    made = fresh_node_id()
    assert token(made) == made
    assert fresh_node_id() != made
