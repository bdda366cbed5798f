"""Certificates for a broker on 127.0.0.1, made with openssl."""

import subprocess
from pathlib import Path


def certificates(directory: Path) -> None:
    """An authority, and certificates of a server and a client by it."""

    def run(*args: str) -> None:
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=directory)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    run("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    (directory / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        key, request = f"{name}.key", f"{name}.csr"
        run("req", *new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        run("x509", "-req", "-in", request, "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", "san", "-out", f"{name}.crt")  # fmt: skip
