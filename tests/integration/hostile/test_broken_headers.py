"""A header block of one byte: nats-server 2.15.1 ends itself over one in a stream that is republished."""

from pathlib import Path

from mesh.errors import BusError
from tests.integration.hostile.rogue import HONEST, Onlooker, Rogue
from tests.mesh_in_process import InProcessMesh


async def test_one_byte_of_headers_costs_a_restart_of_the_broker_at_most(tmp_path: Path):
    async with InProcessMesh(folder=tmp_path) as mesh:
        await mesh.add_dispatcher(known_models=("rogue",))
        async with Rogue(mesh, "rogue") as rogue:
            key = mesh.key()
            onlooker = Onlooker(mesh, key)
            await mesh.submit(key, model="rogue")
            attempt = await rogue.take(key)
            await attempt.write("one ", n=2, offset=0)

            rogue.link.send(attempt.subject, b"noise", headers=b"x")
            standing = await rogue.ask(attempt)
            while True:
                # A grant is lost with the connection: the question brings a new one.
                try:
                    await attempt.write("two", n=standing.next_n, offset=standing.chars, last=True)
                    break
                except BusError:
                    standing = await rogue.ask(attempt)
            attempt.finished()

            assert await onlooker.believes() == f"completed: {HONEST}"
