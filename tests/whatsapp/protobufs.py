"""The messages of WhatsApp and of the Signal protocol. They are built while running, so nothing knows their types."""

from __future__ import annotations

from typing import Any

from pyaileys.proto import WAProto_pb2

proto: Any = WAProto_pb2
