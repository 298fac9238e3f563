"""A story as the message that WhatsApp's client sends, its media uploaded.

What only looks nicer (thumbnail, duration) is left out where the tools for it are missing: no story fails for that.
"""

from __future__ import annotations

import logging
import shutil
from io import BytesIO
from typing import Any, Final

from neonize.client import NewClient
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import (
    AudioMessage,
    ExtendedTextMessage,
    ImageMessage,
    Message,
    VideoMessage,
)
from neonize.utils.enum import MediaType
from neonize.utils.ffmpeg import FFmpeg
from PIL import Image as Pictures

from stages.messages import Content, Image, Text, Video, Voice

THUMBNAIL: Final = 100
"""The longer side of a thumbnail, in pixels."""
_WHITE: Final = 0xFFFFFFFF
_log = logging.getLogger(__name__)


def message_of(client: NewClient, content: Content, data: bytes | None) -> Message:
    """The message for `content`; uploads `data`. Raises what neonize raises."""
    match content:
        case Text():
            return Message(extendedTextMessage=_text(content))
        case Image():
            return Message(imageMessage=_image(client, content, data or b""))
        case Video():
            return Message(videoMessage=_video(client, content, data or b""))
        case Voice():
            return Message(audioMessage=_voice(client, content, data or b""))


def _text(content: Text) -> ExtendedTextMessage:
    fonts = ExtendedTextMessage.FontType.DESCRIPTOR.values_by_number
    return ExtendedTextMessage(
        text=content.text,
        backgroundArgb=0xFF000000 | int(content.background_color.removeprefix("#"), 16),
        textArgb=_WHITE,
        font=content.font if content.font in fonts else ExtendedTextMessage.SYSTEM,
    )


def _image(client: NewClient, content: Image, data: bytes) -> ImageMessage:
    return ImageMessage(
        caption=content.caption,
        mimetype=content.mimetype,
        **_uploaded(client, data, MediaType.MediaImage),
        **_picture(data),
    )


def _video(client: NewClient, content: Video, data: bytes) -> VideoMessage:
    return VideoMessage(
        caption=content.caption,
        mimetype=content.mimetype,
        **_uploaded(client, data, MediaType.MediaVideo),
        **_film(data, picture=True),
    )


def _voice(client: NewClient, content: Voice, data: bytes) -> AudioMessage:
    return AudioMessage(
        PTT=True,
        mimetype=content.mimetype,
        **_uploaded(client, data, MediaType.MediaAudio),
        **_film(data, picture=False),
    )


def _uploaded(client: NewClient, data: bytes, kind: MediaType) -> dict[str, Any]:
    # The kind is named, or neonize would guess it from the bytes.
    place = client.upload(data, kind)
    return {
        "URL": place.url,
        "directPath": place.DirectPath,
        "mediaKey": place.MediaKey,
        "fileEncSHA256": place.FileEncSHA256,
        "fileSHA256": place.FileSHA256,
        "fileLength": place.FileLength,
    }


def _picture(data: bytes) -> dict[str, Any]:
    try:
        with Pictures.open(BytesIO(data)) as picture:
            width, height = picture.size
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            small = BytesIO()
            picture.convert("RGB").save(small, format="jpeg")
    except Exception as error:  # whatever a media file brings out in it: it is an ornament
        _log.warning("no thumbnail: %s", type(error).__name__)
        return {}
    return {"width": width, "height": height, "JPEGThumbnail": small.getvalue()}


def _film(data: bytes, *, picture: bool) -> dict[str, Any]:
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        return {}
    try:
        with FFmpeg(data) as ffmpeg:
            found: dict[str, Any] = {"seconds": int(float(ffmpeg.extract_info().format.duration))}
            return {**found, "JPEGThumbnail": ffmpeg.extract_thumbnail()} if picture else found
    except Exception as error:  # whatever a media file brings out in it: it is an ornament
        _log.warning("no duration: %s", type(error).__name__)
        return {}
