"""What the waha engine can be told: where WAHA is, how to prove who asks, and how long to wait."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

_HOST = r"(\[[0-9a-fA-F:.]+\]|[^\s@/?#:\[\]]+)(:[0-9]{1,5})?"
_ADDRESS = rf"^https?://{_HOST}(/[^\s@?#]*)?(?!\n)$"


class Waha(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the waha engine. The key is in no `repr`."""

    url: Annotated[
        str,
        Meta(pattern=_ADDRESS, examples=["http://127.0.0.1:3000"], description="Where WAHA answers."),
    ] = "http://127.0.0.1:3000"
    api_key: Annotated[
        str, Meta(pattern=r"^[!-~]{0,4096}(?!\n)$", description="WAHA's API key; empty for none.")
    ] = ""
    api_key_file: Annotated[
        str,
        Meta(description="A file that holds the API key, read when the engine is opened; empty for none."),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="A PEM file of the authorities to trust instead of the usual ones; empty for those."
        ),
    ] = ""
    verify_tls: Annotated[
        bool, Meta(description="Check WAHA's certificate. Only for trying things out without.")
    ] = True
    connect_timeout: Annotated[
        float, Meta(gt=0, le=300, description="Seconds that connecting may take, a free connection included.")
    ] = 5.0
    timeout: Annotated[
        float,
        Meta(
            gt=0, le=3600, description="Seconds that a call may take as a whole; its outcome is unknown then."
        ),
    ] = 85.0
    open_timeout: Annotated[
        float, Meta(gt=0, le=300, description="Seconds that finding out what WAHA can do may take.")
    ] = 15.0
    connections: Annotated[int, Meta(ge=1, le=1_000, description="Calls under way at the same time.")] = 16
    max_batch: Annotated[
        int,
        Meta(
            ge=0,
            le=50_000,
            description="Recipients in one call. 0: by engine and version, so that WAHA splits no call itself.",
        ),
    ] = 0
    link_preview: Annotated[
        bool, Meta(description="Let WAHA preview links in texts; it fetches them anew for every call.")
    ] = False

    def __repr__(self) -> str:
        key = "set" if self.api_key or self.api_key_file else "none"
        return f"Waha(url={self.url!r}, key {key})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", self.url), ("key", "set" if self.api_key or self.api_key_file else "none")]
