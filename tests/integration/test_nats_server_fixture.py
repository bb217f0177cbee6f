"""The server that the tests stand on keeps its word: ports, store, restart and kill."""

from pathlib import Path

import nats
import pytest

from tests.nats_server import NatsServer


async def test_a_stored_message_survives_a_kill_and_a_restart_on_the_same_port(nats_server: NatsServer) -> None:
    url = nats_server.url
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream().publish("kept.one", b"1")
    await client.close()

    nats_server.kill()
    nats_server.start()

    assert nats_server.url == url
    client = await nats.connect(url)
    assert (await client.jetstream().get_msg("KEPT", seq=1)).data == b"1"
    await client.close()


def test_two_servers_run_side_by_side(nats_server: NatsServer, module_nats_server: NatsServer) -> None:
    assert nats_server.url != module_nats_server.url
    assert nats_server.monitoring_url != module_nats_server.monitoring_url


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.conf"
    broken.write_text("no_such_option: true\n")
    with pytest.raises(RuntimeError, match="no_such_option"):
        NatsServer(tmp_path / "nats", "-c", str(broken)).start()
