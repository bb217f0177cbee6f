"""Which path of vector stores goes where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.http.vector_stores.files import StoreFiles
from gateway.http.vector_stores.stores import VectorStores

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.site import Site
    from mesh.files.store import FileStore

STORES_PATH: Final = "/v1/vector_stores"
STORE_PATH: Final = f"{STORES_PATH}/{{store}}"
FILES_PATH: Final = f"{STORE_PATH}/files"
FILE_PATH: Final = f"{FILES_PATH}/{{file}}"
BATCHES_PATH: Final = f"{STORE_PATH}/file_batches"
BATCH_PATH: Final = f"{BATCHES_PATH}/{{batch}}"


def add_routes(app: web.Application, site: Site, files: FileStore) -> None:
    """Serve vector stores."""
    stores, held = VectorStores(site, files), StoreFiles(site, files)
    router = app.router
    router.add_post(STORES_PATH, stores.create)
    router.add_get(STORES_PATH, stores.list_all)
    router.add_get(STORE_PATH, stores.show)
    router.add_post(STORE_PATH, stores.change)
    router.add_delete(STORE_PATH, stores.delete)
    router.add_post(f"{STORE_PATH}/search", stores.search)
    router.add_post(FILES_PATH, held.attach)
    router.add_get(FILES_PATH, held.list_all)
    router.add_get(FILE_PATH, held.show)
    router.add_post(FILE_PATH, held.change)
    router.add_delete(FILE_PATH, held.delete)
    router.add_get(f"{FILE_PATH}/content", held.content)
    router.add_post(BATCHES_PATH, held.create_batch)
    router.add_get(BATCH_PATH, held.show_batch)
    router.add_get(f"{BATCH_PATH}/files", held.list_batch)
    router.add_post(f"{BATCH_PATH}/cancel", held.cancel_batch)
