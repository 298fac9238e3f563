"""The binary XML of WhatsApp: how nodes are made, read and answered."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pyaileys.wabinary import BinaryNode as Node
from pyaileys.wabinary import decode_binary_node as decode
from pyaileys.wabinary import encode_binary_node as encode

__all__ = [
    "SERVER",
    "Node",
    "child",
    "children",
    "data",
    "decode",
    "encode",
    "error",
    "node",
    "result",
    "user",
]

SERVER = "s.whatsapp.net"
FROM_SERVER = "@s.whatsapp.net"
"""An address without a name, which is not the same as a word."""


def node(tag: str, /, *content: Node, **attrs: str) -> Node:
    """A node of nodes. Attributes that are words of Python end with an underscore."""
    return Node(tag, {name.rstrip("_"): value for name, value in attrs.items()}, list(content) or None)


def data(tag: str, content: bytes, /, **attrs: str) -> Node:
    """A node that holds bytes."""
    return Node(tag, attrs, content)


def children(parent: Node | None) -> list[Node]:
    """The nodes of a node."""
    return parent.content if parent is not None and isinstance(parent.content, list) else []


def child(parent: Node | None, tag: str) -> Node | None:
    """The first node of a name."""
    return next((one for one in children(parent) if one.tag == tag), None)


def result(query: Node, content: Iterable[Node] = ()) -> Node:
    """The answer to a query."""
    return node(
        "iq", *content, from_=FROM_SERVER, type="result", id=query.attrs["id"], t=str(int(time.time()))
    )


def error(query: Node, code: int, text: str) -> Node:
    """The refusal of a query."""
    return node(
        "iq", node("error", code=str(code), text=text), from_=FROM_SERVER, type="error", id=query.attrs["id"]
    )


def user(jid: str) -> str:
    """Whose device this is: its address without the device."""
    name, _, server = jid.partition("@")
    return f"{name.partition(':')[0]}@{server}"
