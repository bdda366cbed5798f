"""Keys issued to CoAP devices by a whole gateway, with aiocoap's own client side of OSCORE."""

import asyncio
import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

from aiocoap import Message, oscore
from aiocoap.numbers.codes import Code

from tests.devices.test_coap import asking
from tests.support.coap import Client
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port


def issued(house: Gateway, what: str, *devices: str) -> dict[str, dict[str, str]]:
    done = house.command("devices", "credentials", what, *devices, "--source", "coap")
    assert done.returncode == 0, done.stderr
    return {row["id"]: row for row in csv.DictReader(io.StringIO(done.stdout))}


def post(port: int, directory: Path, key: dict[str, str], device: str) -> Code:
    """What a device with this key is answered."""
    settings = {
        "sender-id_hex": key["client_id"], "recipient-id_hex": key["server_id"],
        "secret_hex": key["secret"], "salt_hex": key["salt"],
    }  # fmt: skip
    directory.mkdir(exist_ok=True)
    (directory / "settings.json").write_text(json.dumps(settings))
    context = oscore.FilesystemSecurityContext(str(directory))

    async def ask(**options: Any) -> Code:
        inside = Message(
            code=Code.POST, payload=b'{"v": 1}', uri_path=("telemetry", device),
            content_format=50, **options,
        )  # fmt: skip
        sealed, request_id = context.protect(inside)
        sealed.set_request_uri(f"coap://127.0.0.1:{port}", set_uri_host=False)
        async with asking() as asker:
            answer = await asker.request(sealed, handle_blockwise=False).response
        try:
            opened, _ = context.unprotect(answer, request_id)
        except oscore.NotAProtectedMessage:
            return Code(answer.code)
        if opened.code is Code.UNAUTHORIZED and opened.opt.echo is not None:
            return await ask(echo=opened.opt.echo)
        return Code(opened.code)

    try:
        return asyncio.run(ask())
    finally:
        context._destroy()


def test_issued_rotated_and_revoked(tmp_path: Path) -> None:
    port = free_port()
    devices = [{"type": "coap", "port": port, "issued_keys": True}]
    with gateway(tmp_path / "house", broker={"port": free_port()}, devices=devices) as house:
        with Client(port) as plain:
            assert plain.post("tank", b'{"v": 1}').code == "4.01"  # none is issued yet
        keys = issued(house, "issue", "tank", "pump")
        assert keys["tank"]["client_id"] != keys["pump"]["client_id"]
        assert post(port, tmp_path / "tank", keys["tank"], "tank") is Code.CHANGED
        assert post(port, tmp_path / "tank", keys["tank"], "pump") is Code.FORBIDDEN
        file = house.directory / "data" / "coap" / "coap" / "keys.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        renewed = issued(house, "rotate", "tank")["tank"]
        assert post(port, tmp_path / "tank", keys["tank"], "tank").class_ == 4
        assert post(port, tmp_path / "tank-2", renewed, "tank") is Code.CHANGED

        house.kill()
        house.start()
        assert post(port, tmp_path / "tank-2", renewed, "tank") is Code.CHANGED
        assert post(port, tmp_path / "pump", keys["pump"], "pump") is Code.CHANGED

        twice = house.command("devices", "credentials", "issue", "tank", "--source", "coap")
        assert (twice.returncode, "already" in twice.stderr) == (1, True)

        revoke = ("devices", "credentials", "revoke", "tank", "--source", "coap", "--yes")
        gone = house.command(*revoke)
        assert gone.returncode == 0, gone.stderr
        assert post(port, tmp_path / "tank-2", renewed, "tank") is Code.UNAUTHORIZED
        assert post(port, tmp_path / "pump", keys["pump"], "pump") is Code.CHANGED
        listed = house.command("devices", "credentials", "list", "--source", "coap")
        assert listed.stdout.split() == ["pump"]


def test_where_no_keys_are_issued(tmp_path: Path) -> None:
    devices = [{"type": "coap", "port": free_port()}]
    with gateway(tmp_path, broker={"port": free_port()}, devices=devices) as house:
        refused = house.command("devices", "credentials", "issue", "a", "--source", "coap")
        assert (refused.returncode, "issued_keys: true" in refused.stderr) == (1, True)
        other = house.command("devices", "credentials", "issue", "a", "--source", "pi")
        assert (other.returncode, "no source" in other.stderr) == (1, True)


def test_a_damaged_file_opens_nothing(tmp_path: Path) -> None:
    """Without its keys a source that needs them must not take what comes without."""
    port = free_port()
    devices = [{"type": "coap", "port": port, "issued_keys": True}]
    with gateway(tmp_path, broker={"port": free_port()}, devices=devices) as house:
        issued(house, "issue", "tank")
        house.stop()
        (house.directory / "data" / "coap" / "coap" / "keys.json").write_text("{")
        house.start(ready=False)
        house.wait(
            lambda: any(
                "keys.json" in str(each["last_error"])
                for each in house.api("status")["sources"]
                if each["name"] == "coap"
            )
        )
