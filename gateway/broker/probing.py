"""Looks at ports: who has one, whether a broker answers there, whether it lets us in."""

import asyncio
import socket
import ssl

import psutil

from gateway.core.contracts import Endpoint


def owner(port: int) -> str:
    """Who listens on a port, for people."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return "another program"
    return "another program"


def refusal(host: str, port: int) -> str:
    """Why nobody could listen there now, or ""."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        if error.errno == 98:  # EADDRINUSE
            return f"{owner(port)} has port {port}"
        return error.strerror or str(error)
    return ""


async def answers(endpoint: Endpoint) -> bool:
    """Whether anything listens there."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def accepts(endpoint: Endpoint) -> bool:
    """Whether an MQTT broker listens there that lets us in, with the endpoint's user name and
    over TLS where it says so (MQTT 3.1.1, section 3.1)."""
    context = ssl.create_default_context(cafile=endpoint.ca_file) if endpoint.tls else None
    fields, flags = [b"berrygate-probe"], 0x02
    if endpoint.username:
        fields += [endpoint.username.encode(), endpoint.password.encode()]
        flags |= 0xC0
    body = b"\x00\x04MQTT\x04" + bytes((flags,)) + b"\x00\x05"
    body += b"".join(len(each).to_bytes(2, "big") + each for each in fields)
    size = (
        bytes((len(body),)) if len(body) < 128 else bytes((len(body) & 127 | 128, len(body) >> 7))
    )
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context
            )
            writer.write(b"\x10" + size + body)
            answer = await reader.readexactly(4)
            writer.write(b"\xe0\x00")
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return answer[0] == 0x20 and answer[3] == 0
