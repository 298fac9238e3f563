"""What the server answers to queries when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable

from tests.whatsapp.faults import Point
from tests.whatsapp.nodes import Node, child, children, node
from tests.whatsapp.world import World

PREKEYS_HELD = "50"
"""Few enough that a client makes 50 and not 812, enough that it makes no more."""

Answer = Callable[[World, Node], list[Node]]


def find(query: Node) -> tuple[Point | None, Answer | None]:
    """Where a query may fail, and what answers it."""
    asked = children(query)[0].tag if children(query) else ""
    return ANSWERS.get((query.attrs.get("xmlns", ""), asked), (None, None))


def _nothing(world: World, query: Node) -> list[Node]:
    return []


def _count(world: World, query: Node) -> list[Node]:
    return [node("count", value=PREKEYS_HELD)]


def _privacy(world: World, query: Node) -> list[Node]:
    users = [node("user", jid=jid) for jid in world.privacy.jids]
    return [node("privacy", node("list", *users, type=world.privacy.kind, default="true"))]


def _media(world: World, query: Node) -> list[Node]:
    """Where media are taken to."""
    host = node("host", hostname=world.media_host)
    return [node("media_conn", host, auth="anybody", ttl="3600", auth_ttl="3600", max_buckets="12")]


def _devices(world: World, query: Node) -> list[Node]:
    asked = children(child(child(query, "usync"), "list"))
    users = [_device_list(world, one.attrs["jid"]) for one in asked]
    return [node("usync", node("list", *(one for one in users if one is not None)))]


def _device_list(world: World, jid: str) -> Node | None:
    if jid in world.faults.without_devices:
        return None
    devices = (node("device", id=str(number)) for number in world.devices_of(jid))
    return node("user", node("devices", node("device-list", *devices)), jid=jid)


def _prekeys(world: World, query: Node) -> list[Node]:
    users = [_bundle(world, one.attrs["jid"]) for one in children(child(query, "key"))]
    return [node("list", *(one for one in users if one is not None))]


def _bundle(world: World, jid: str) -> Node | None:
    match world.faults.without_bundle.get(jid):
        case "absent":
            return None
        case "error":
            return node("user", node("error", code="404", text="item-not-found"), jid=jid)
        case None:
            return world.device(jid).bundle()


ANSWERS: dict[tuple[str, str], tuple[Point | None, Answer]] = {
    ("encrypt", "count"): (None, _count),
    ("encrypt", "registration"): (None, _nothing),
    ("encrypt", "key"): ("prekeys", _prekeys),
    ("passive", "active"): (None, _nothing),
    ("w:p", ""): ("ping", _nothing),
    ("w:p", "ping"): ("ping", _nothing),
    ("status", "privacy"): ("privacy", _privacy),
    ("w:m", "media_conn"): ("media", _media),
    ("usync", "usync"): ("devices", _devices),
}
