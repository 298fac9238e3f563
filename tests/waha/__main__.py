"""`python -m tests.waha --port N`: a loopback WAHA for trying out by hand, until Ctrl-C."""

from __future__ import annotations

import argparse
import ssl
import sys

import trio
import trustme

from tests.waha.server import LoopbackWaha, open_loopback
from tests.waha.signals import SIGNALS
from tests.waha.world import Settings


def main() -> None:
    asked = _arguments()
    settings = Settings(
        engine=asked.engine,
        version=asked.version,
        tier=asked.tier,
        session=asked.session,
        state=asked.state,
        api_key=asked.api_key,
        restricted=asked.restricted,
    )
    tls = _self_made(asked.ca_out) if asked.ca_out else None
    try:
        trio.run(_serve, settings, asked.port, tls, asked.meets)
    except* KeyboardInterrupt:
        pass  # the way in which it is ended


async def _serve(settings: Settings, port: int, tls: ssl.SSLContext | None, meets: list[str]) -> None:
    async with open_loopback(settings, port=port, tls=tls) as waha:
        for signal in meets:
            SIGNALS[signal].arrange(waha)
        sys.stdout.write(f"{waha.url}\n")
        sys.stdout.flush()
        await _tell(waha)


async def _tell(waha: LoopbackWaha) -> None:
    """A line for each call that reached somebody, and for each problem."""
    told = problems = 0
    while True:
        await waha.arrived(waha.posts + 1)
        for call in waha.ledger.calls[told:]:
            sys.stdout.write(f"{call.message_id} {call.kind} to {len(call.recipients)}, own: {call.own}\n")
        for problem in waha.ledger.problems[problems:]:
            sys.stdout.write(f"WRONG {problem}\n")
        told, problems = len(waha.ledger.calls), len(waha.ledger.problems)
        sys.stdout.flush()


def _self_made(ca_out: str) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_out)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.waha", description="A loopback WAHA.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--engine", default="GOWS")
    parser.add_argument("--version", default="2026.7.1")
    parser.add_argument("--tier", default="CORE")
    parser.add_argument("--session", default="main")
    parser.add_argument("--state", default="WORKING")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--restricted", action="store_true")
    parser.add_argument(
        "--ca-out", default="", help="serve TLS, and write the authority to trust to this file"
    )
    parser.add_argument("--meets", action="append", default=[], choices=sorted(SIGNALS), metavar="SIGNAL")
    return parser.parse_args()


if __name__ == "__main__":
    main()
