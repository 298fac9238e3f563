"""The host that takes media before a message names them, and how a recipient gets them from there."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h11
import trio
import trustme

from tests.whatsapp.background import open_background
from tests.whatsapp.faults import Faults, Refused, Silence, Slow
from tests.whatsapp.keys import derive
from tests.whatsapp.ratchet import Undecryptable, decrypt_cbc

LOOPBACK = "127.0.0.1"
MAC = 10
READ = 1 << 16
KINDS = {"imageMessage": "Image", "videoMessage": "Video", "audioMessage": "Audio"}
"""Fields of a message, and the word that each one's keys are derived with."""


class Media:
    """Everything that was uploaded, encrypted as it came, by its path."""

    def __init__(self, faults: Faults) -> None:
        self.files: dict[str, bytes] = {}
        self.host = ""
        self.authority = Path()
        """A file with the certificate to trust; a client finds it by SSL_CERT_FILE, set when its process starts."""
        self._faults = faults

    def open(self, message: Any) -> bytes:
        """What a recipient sees of a message's media.

        Raises:
            Undecryptable: the file is not the one that the message names.
        """
        field = next(name for name in KINDS if message.HasField(name))
        named = getattr(message, field)
        file = self.files[named.directPath.partition("?")[0]]
        keys = derive(named.mediaKey, 112, info=f"WhatsApp {KINDS[field]} Keys".encode())
        iv, cipher_key, mac_key = keys[:16], keys[16:48], keys[48:80]
        if hmac.digest(mac_key, iv + file[:-MAC], hashlib.sha256)[:MAC] != file[-MAC:]:
            raise Undecryptable("the MAC of a file differs")
        content = decrypt_cbc(cipher_key, iv, file[:-MAC])
        if hashlib.sha256(content).digest() != named.fileSha256:
            raise Undecryptable("another file than the message's")
        return content

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection, of as many uploads as the client likes."""
        with suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            connection = h11.Connection(h11.SERVER)
            while await self._take(stream, connection):
                connection.start_next_cycle()

    async def _take(self, stream: trio.abc.Stream, connection: h11.Connection) -> bool:
        """One upload; whether another may follow."""
        request = await _next(stream, connection)
        if not isinstance(request, h11.Request):
            return False
        body = b""
        while isinstance(event := await _next(stream, connection), h11.Data):
            body += event.data
        path = request.target.decode().partition("?")[0]
        status = await self._met()
        if status == 200:
            self.files[path] = body
        answer = json.dumps({"url": f"https://{self.host}{path}", "direct_path": path}).encode()
        head = h11.Response(status_code=status, headers=[("Content-Length", str(len(answer)))])
        for part in (head, h11.Data(data=answer), h11.EndOfMessage()):
            await stream.send_all(connection.send(part) or b"")
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _met(self) -> int:
        match self._faults.meet("upload"):
            case Refused(code=code):
                return code
            case Silence():
                await trio.sleep_forever()
            case Slow(gate=gate):
                await gate.wait()
            case None:
                return 200
            case _:
                raise trio.BrokenResourceError
        return 200


async def _next(stream: trio.abc.Stream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(READ)))
    return event


@asynccontextmanager
async def open_media(faults: Faults) -> AsyncIterator[Media]:
    """A host of media on loopback, with a certificate of its own authority."""
    media = Media(faults)
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(LOOPBACK).configure_cert(context)
    with TemporaryDirectory(prefix="storycast-") as directory:
        media.authority = Path(directory) / "authority.pem"
        authority.cert_pem.write_to_path(str(media.authority))
        async with open_background() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, media.serve, 0, context, host=LOOPBACK)
            listeners = await nursery.start(serve)
            port = listeners[0].transport_listener.socket.getsockname()[1]
            media.host = f"{LOOPBACK}:{port}"
            yield media
