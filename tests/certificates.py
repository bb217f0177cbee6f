"""Certificates for tests, made as an operator makes them: by the script that the project ships."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from mesh.tls.contexts import ClientTls, TlsFiles

SCRIPT = Path(__file__).parents[1] / "deploy/cluster/make-certificates"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """One authority, with a certificate for each name that is asked for."""

    folder: Path

    def shown(self, name: str = HOST) -> TlsFiles:
        """What a server of that name shows, or a client."""
        mine = self.folder / name
        if not mine.exists():
            subprocess.run([SCRIPT, self.folder, name], check=True, stdout=subprocess.DEVNULL)
        return TlsFiles(cert=mine / "server.pem", key=mine / "server-key.pem")

    @property
    def ca(self) -> Path:
        """Whom others trust."""
        self.shown()
        return self.folder / "ca.pem"

    def asking(self, name: str = HOST) -> TlsFiles:
        """What a server of that name shows, which wants to see a certificate of this authority."""
        mine = self.shown(name)
        return TlsFiles(cert=mine.cert, key=mine.key, ca=self.ca)

    def client(self, *, shows: bool = False, name: str | None = None) -> ClientTls:
        """What a client goes by that trusts this authority."""
        return ClientTls(files=self.asking() if shows else TlsFiles(ca=self.ca), name=name)
