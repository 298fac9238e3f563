"""What the real library makes of stories, of its log and of its signature, as JSON; nothing is sent anywhere.

In a process of its own, because the library is never loaded where tests, or workers, run.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from neonize.proto.Neonize_pb2 import LogEntry
from neonize.utils.log import _log_queue
from PIL import Image as Pictures

from stages.messages import Image, Text, Video, Voice
from transports.neonize.library import Library
from transports.neonize.library_messages import message_of

uploads: list[str] = []


def upload(data: bytes, kind: Any) -> Any:
    uploads.append(kind.name)
    return SimpleNamespace(
        url="https://mmg.example/x", DirectPath="/x", MediaKey=b"k" * 32, FileEncSHA256=b"e" * 32,
        FileSHA256=b"s" * 32, FileLength=len(data),
    )  # fmt: skip


def picture() -> bytes:
    drawn = io.BytesIO()
    Pictures.new("RGBA", (640, 320)).save(drawn, format="png")
    return drawn.getvalue()


def truncated() -> bytes:
    """An AVIF that begins well: Pillow opens it, and raises `SyntaxError` where it is read."""
    drawn = io.BytesIO()
    Pictures.effect_noise((64, 48), 50).save(drawn, format="avif")
    return drawn.getvalue()[:-100]


def made(content: Any, data: bytes | None) -> Any:
    return plain(message_of(SimpleNamespace(upload=upload), content, data))


def plain(message: Any) -> dict[str, Any]:
    """What is set in a protobuf message."""
    return {
        field.name: plain(value)
        if field.message_type
        else repr(value)
        if field.type == field.TYPE_BYTES
        else value
        for field, value in message.ListFields()
        if field.name != "contextInfo"
    }


def logged(library: Library, *lines: str) -> list[str]:
    for line in lines:
        _log_queue.put(LogEntry(Message=line, Level="WARN", Name="Client").SerializeToString())
    library._log.settle()
    return library._drops.take("3EB0AA")


notes: list[str] = []
library = Library(Path(sys.argv[1]), notes.append)
facts = {
    "ids": library.abilities.takes_message_id,
    "recipients": library.abilities.takes_recipients,
    "text": made(Text(text="Hi", background_color="#38b42f", font=2), None),
    "odd font": made(Text(text="Hi", font=4), None),
    "image": made(Image(mimetype="image/png", caption="c"), picture()),
    "no image": made(Image(mimetype="image/png"), b"no picture"),
    "half an image": made(Image(mimetype="image/avif"), truncated()),
    "video": made(Video(mimetype="video/mp4", caption="c"), b"no video"),
    "voice": made(Voice(mimetype="audio/ogg; codecs=opus"), b"no voice"),
    "uploads": uploads,
    "dropped": logged(
        library,
        "Failed to fetch prekeys for [6281200000001@s.whatsapp.net] with no existing session: 503",
        "Failed to encrypt 3EB0AA for 6281200000001@s.whatsapp.net: no signal session established with 6281200000001:0",
        "Failed to encrypt 3EB0BB for 6281200000002@s.whatsapp.net: no signal session established",
        "Something else that people should know",
    ),
    "notes": notes,
}
json.dump(facts, sys.stdout)
