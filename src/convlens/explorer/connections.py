"""A connection to the explorer: bounded in time, and one of a bounded number.

uvicorn itself waits without end for a request whose headers never end and for a client that does
not read what it asked for, so that a few hundred such clients would keep everybody else out.
"""

import asyncio
from collections import Counter
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 400  # at once
OF_ONE_CLIENT = 128  # of these; a browser opens 6 to 12, and behind a proxy all share an address
HEADER_SECONDS = 10.0  # for a request's headers, from the first byte or the connection on
UNREAD_SECONDS = 120.0  # for an answer to be fetched


def _sentence(status: str, sentence: str, more: str = "") -> bytes:
    body = f'{{"error":"{sentence}"}}'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


LATE = _sentence("408 Request Timeout", "the request did not arrive in time; send it again")
FULL = _sentence(
    "503 Service Unavailable",
    "too many connections are open; ask again in a second",
    "Retry-After: 1\r\n",
)


class Connection(H11Protocol):
    """As uvicorn's, but it ends where no request comes or no answer is read.

    Where there are too many, a newcomer takes the place of one that asks for nothing, first of one
    that never did, so that nobody keeps others out by doing nothing.
    """

    opened: float
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client may ask now, unless there is no room for it."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # to hear of everything that is not fetched
        self.opened = self.loop.time()
        self._late = self.loop.call_later(HEADER_SECONDS, self._hang_up)
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """Part of a request; the next part must not be long in coming until it is whole."""
        super().data_received(data)
        if self.is_asking:
            self._late = _cancelled(self._late)
        elif self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def pause_writing(self) -> None:
        """The client is slower in reading than the answer was in coming."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """All that was written has left."""
        super().resume_writing()
        self._unread = _cancelled(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is to be done for it."""
        self._late, self._unread = _cancelled(self._late), _cancelled(self._unread)
        super().connection_lost(exc)

    @property
    def is_asking(self) -> bool:
        """Whether a request has come whose answer is still owed."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def address(self) -> str:
        """The client's, without its port."""
        return self.client[0] if self.client else ""

    def _hang_up(self) -> None:
        self._late = None
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and not self.transport.is_closing():
            self.transport.write(LATE)
        self.transport.close()

    def _make_room(self) -> None:
        """End a connection that asks for nothing where there are too many, else this one."""
        others = cast(set[Connection], self.connections - {self})
        of_address = Counter(other.address for other in others)
        if of_address[self.address] >= OF_ONE_CLIENT:
            crowd = self.address
        elif len(others) >= CONNECTIONS:
            crowd = of_address.most_common(1)[0][0]
        else:
            return
        idle = [other for other in others if other.address == crowd and not other.is_asking]
        if idle:
            given_up = min(idle, key=lambda other: (other.cycle is not None, other.opened))
            self.connections.discard(given_up)  # which `abort` does only later
            given_up.transport.abort()
        else:
            self.transport.write(FULL)
            self.transport.close()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
