"""An authority of one's own, and what it signs, made by the `openssl` program."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Authority:
    """A self-signed authority; ``file`` is what those who trust it are given."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._key = directory / f"{name}.key"
        self.file = directory / f"{name}.pem"
        subject = ["-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE"]
        subject += ["-addext", "keyUsage=critical,keyCertSign"]
        _openssl("req", "-x509", "-days", "2", *_NEW_KEY, str(self._key), *subject, "-out", str(self.file))

    def server(self, names: str = "IP:127.0.0.1,DNS:localhost") -> ssl.SSLContext:
        """What a server of ``names`` shows, signed by this authority."""
        key, request, signed, extension = (
            self._directory / f"{self._name}-server.{end}" for end in ("key", "csr", "pem", "ext")
        )
        extension.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_NEW_KEY, str(key), "-subj", "/CN=aggregator", "-out", str(request))
        by = ["-CA", str(self.file), "-CAkey", str(self._key), "-CAcreateserial", "-days", "2"]
        _openssl("x509", "-req", "-in", str(request), *by, "-extfile", str(extension), "-out", str(signed))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed, key)
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)  # noqa: S607 - wherever the system has it
