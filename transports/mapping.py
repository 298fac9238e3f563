"""What nats-py raises, as `TransportError`s: mapped once, here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import nats.errors
import nats.js.errors

from transports.errors import NoResponders, NotStored, PublishRefused, Unreachable


@contextmanager
def mapped() -> Iterator[None]:
    """Raise `TransportError`s in place of what nats-py raises in the block."""
    try:
        yield
    except nats.js.errors.NoStreamResponseError as error:
        raise Unreachable("no stream takes this subject: is JetStream on, are the streams there?") from error
    except nats.js.errors.NotFoundError as error:
        raise NotStored(str(error)) from error
    except nats.js.errors.APIError as error:
        raise PublishRefused(f"NATS: {error.description or error}", code=error.err_code) from error
    except nats.errors.MaxPayloadError as error:
        raise PublishRefused(str(error)) from error
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise Unreachable("NATS did not answer in time") from error
    except nats.errors.NoRespondersError as error:
        raise NoResponders(f"NATS: {error}") from error
    except (nats.errors.Error, OSError) as error:
        raise Unreachable(f"NATS: {error}") from error


def as_mapped(error: Exception) -> Exception:
    """What `mapped` raises in place of `error`; `error` itself if it is none of nats-py's."""
    try:
        with mapped():
            raise error
    except Exception as found:
        return found
