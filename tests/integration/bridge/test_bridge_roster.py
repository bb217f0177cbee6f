"""The topics ``nodes`` and ``models``."""

from tests.bridge_server import BridgeServer, Frame
from tests.mesh_in_process import InProcessMesh


def serves(node: Frame) -> bool:
    return node["live"] and node["replicas"]


async def test_a_node_is_shown_with_its_models_and_its_load_as_it_changes(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="nodes")
        assert (await client.until_type("nodes")) == {"type": "nodes", "nodes": [], "reset": True}
        await mesh.add_node("n1", slots=3, delay_ms=20)
        # What it serves is read from a log, and that it lives heard from itself: either may come first.
        seen = await client.until(lambda frame: frame["type"] == "nodes" and serves(frame["nodes"][0]))
        # It works until the mesh is gone.
        await mesh.submit(tokens=100_000)
        await client.until(lambda frame: '"busy": 1' in str(frame).replace("'", '"'))

    [node] = seen["nodes"]
    assert node["node"] == "n1"
    assert [(replica["model"], replica["slots"]) for replica in node["replicas"]] == [("synthetic", 3)]


async def test_a_node_that_vanishes_is_shown_as_not_live(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    node = await mesh.add_node("n1", interval_s=0.2)

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="nodes")
        await client.until(lambda frame: frame["type"] == "nodes" and frame["nodes"][0]["live"])
        await node.vanish()
        gone = await client.until(lambda frame: frame["type"] == "nodes" and not frame["nodes"][0]["live"])

    assert gone["nodes"][0]["node"] == "n1"


async def test_models_come_and_go_with_the_nodes_that_serve_them(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()

    async with bridge.connect("ig3.v1.msgpack") as client:
        await client.send(type="subscribe", id=1, topic="models")
        assert (await client.until_type("models"))["models"] == []
        node = await mesh.add_node("n1", interval_s=0.2)
        served = await client.until(lambda frame: frame["type"] == "models" and frame["models"])
        await node.vanish()
        await client.until(lambda frame: frame["type"] == "models" and not frame["models"])

    assert [(model["model"], model["nodes"]) for model in served["models"]] == [("synthetic", ["n1"])]


async def test_every_reader_hears_of_a_change(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()

    async with bridge.connect() as one, bridge.connect("ig3.v1.msgpack") as other:
        for client in (one, other):
            await client.send(type="subscribe", id=1, topic="nodes")
            await client.until_type("nodes")
        await mesh.add_node("n1")
        for client in (one, other):
            await client.until(lambda frame: frame["type"] == "nodes" and frame["nodes"][0]["live"])
