"""A real HTTP server that records what arrives and misbehaves as told.

It speaks just enough HTTP/1.1 over asyncio streams to be wrong on purpose. Used in a test's own
event loop, or as a process of its own, outside of what it judges::

    python -m tapewatch.testing.http_sink --port 0 --ledger arrivals.jsonl

which prints one JSON line with its port, and appends one JSON line for each arrival, before it
answers. ``POST /_behave`` with ``{"status": 503}`` changes how it answers from then on, and
``GET /_arrivals`` returns what came so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any, Self

_REASONS = {200: "OK", 204: "No Content", 302: "Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the sink answers one request; the default accepts it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    delay_s: float = 0.0
    """Pause before the answer."""
    hang: bool = False
    """Read everything, never answer."""
    drip_s: float = 0.0
    """Answer one byte at a time with this pause, without end."""
    drop: bool = False
    """Close the connection instead of answering."""
    reset: bool = False
    """Reset the connection instead of answering."""
    huge_bytes: int = 0
    """Answer with a body of so many bytes."""
    close: bool = False
    """Close the connection after the answer instead of keeping it."""
    close_idle_s: float = 0.0
    """Close the connection so long after the answer, without a word, as busy servers do."""
    garbage: bool = False
    """Answer something that is not HTTP."""


ACCEPT = Behaviour()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came in, before any answer."""

    number: int
    """Counts from 1."""
    at_mono_ns: int
    """CLOCK_MONOTONIC when the request line was there."""
    done_mono_ns: int
    """CLOCK_MONOTONIC when its body was complete."""
    connection: int
    """Which connection it came on, from 1."""
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: str

    @property
    def key(self) -> str:
        """The header ``Idempotency-Key``; empty without one."""
        return self.headers.get("idempotency-key", "")

    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)


class HttpSink:
    """The server. Use it as an async context manager; ``url`` is where it listens.

    ``behaviour`` is how it answers; ``script`` holds behaviours for the next requests, each used
    once, before ``behaviour`` counts again.
    """

    def __init__(
        self,
        behaviour: Behaviour = ACCEPT,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ledger: Path | None = None,
        on_arrival: Callable[[Arrival], None] | None = None,
    ) -> None:
        """Prepare; nothing listens before the context is entered.

        Args:
            behaviour: How it answers.
            host: Address to listen on.
            port: Port to listen on; 0 for a free one.
            ledger: File to append arrivals to, one JSON line each, written before the answer.
            on_arrival: Called before the answer, for example to kill the sender.
        """
        self.behaviour = behaviour
        self.script: deque[Behaviour] = deque()
        self.arrivals: list[Arrival] = []
        self.connections = 0
        self._host = host
        self._port = port
        self._on_arrival = on_arrival
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()
        self._ledger_path = ledger
        self._ledger: IO[str] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to listen, again on the same port after a ``stop``."""
        if self._ledger_path is not None:
            self._ledger = self._ledger_path.open("a", encoding="utf-8")
        self._server = await asyncio.start_server(self._connected, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut the open ones."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """A URL that it accepts posts at."""
        return f"http://{self._host}:{self._port}/hook"

    @property
    def keys(self) -> list[str]:
        """Idempotency keys in order of arrival, repeated ones too."""
        return [arrival.key for arrival in self.arrivals]

    async def wait_for(self, count: int, timeout_s: float = 5.0) -> list[Arrival]:
        """Return the arrivals once there are at least ``count``.

        Raises:
            TimeoutError: There are fewer after ``timeout_s`` seconds.
        """
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.arrivals) >= count)
        return self.arrivals

    # -- one connection -----------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        connection = self.connections
        try:
            while await self._exchange(reader, writer, connection):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            # The other side went away, or the sink stops: nothing is owed to anybody.
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        """Serve one request; return whether the connection is kept."""
        line = await reader.readline()
        if not line:
            return False
        at_ns = time.monotonic_ns()
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (header := (await reader.readline()).strip()) != b"":
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        text = body.decode("utf-8", "replace")
        if path.startswith("/_"):
            await self._control(writer, method, path, text)
            return True
        arrival = Arrival(
            number=len(self.arrivals) + 1,
            at_mono_ns=at_ns,
            done_mono_ns=time.monotonic_ns(),
            connection=connection,
            method=method,
            path=path,
            headers=headers,
            body=text,
        )
        behaviour = self.script.popleft() if self.script else self.behaviour
        await self._record(arrival)
        kept = await _answer(writer, behaviour)
        if kept and behaviour.close_idle_s:
            asyncio.get_running_loop().call_later(behaviour.close_idle_s, writer.close)
        return kept

    async def _record(self, arrival: Arrival) -> None:
        if self._ledger is not None:
            self._ledger.write(json.dumps({**asdict(arrival), "key": arrival.key}) + "\n")
            self._ledger.flush()
        self.arrivals.append(arrival)
        if self._on_arrival is not None:
            self._on_arrival(arrival)
        async with self._arrived:
            self._arrived.notify_all()

    async def _control(
        self, writer: asyncio.StreamWriter, method: str, path: str, text: str
    ) -> None:
        answer: Any
        status = 200
        if method == "POST" and path == "/_behave":
            try:
                self.behaviour = parse_behaviour(text)
                answer = asdict(self.behaviour)
            except ValueError as error:
                status, answer = 400, {"error": str(error)}
        elif method == "GET" and path == "/_arrivals":
            answer = [{**asdict(arrival), "key": arrival.key} for arrival in self.arrivals]
        else:
            status, answer = 404, {"error": "expected POST /_behave or GET /_arrivals"}
        await _answer(writer, Behaviour(status=status, body=json.dumps(answer)))


def parse_behaviour(text: str) -> Behaviour:
    """Read a behaviour from a JSON object with fields of ``Behaviour``.

    Raises:
        ValueError: It is not one; the message names the unknown field.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"a behaviour is a JSON object, found {type(value).__name__}")
    known = {f.name for f in fields(Behaviour)}
    if unknown := sorted(set(value) - known):
        raise ValueError(f"unknown field {unknown[0]!r}; expected some of {sorted(known)}")
    return replace(ACCEPT, **value)


async def _answer(writer: asyncio.StreamWriter, behaviour: Behaviour) -> bool:
    if behaviour.delay_s:
        await asyncio.sleep(behaviour.delay_s)
    if behaviour.hang:
        await asyncio.Event().wait()
    if behaviour.reset:
        writer.transport.abort()
    if behaviour.reset or behaviour.drop:
        return False
    if behaviour.garbage:
        writer.write(b"\x00\xff SSH-2.0-nothing like it\r\n\r\n")
        await writer.drain()
        return False
    size = behaviour.huge_bytes or len(behaviour.body.encode("utf-8"))
    head = _head(behaviour, size)
    if behaviour.drip_s:
        await _drip(writer, head, behaviour.drip_s)
    writer.write(head)
    if behaviour.huge_bytes:
        await _flood(writer, behaviour.huge_bytes)
    else:
        writer.write(behaviour.body.encode("utf-8"))
    await writer.drain()
    return not behaviour.close


def _head(behaviour: Behaviour, size: int) -> bytes:
    reason = _REASONS.get(behaviour.status, "Answer")
    headers = {"Content-Type": "application/json", **behaviour.headers}
    if behaviour.status != 204:
        headers["Content-Length"] = str(size)
    if behaviour.close:
        headers["Connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {behaviour.status} {reason}\r\n{lines}\r\n".encode("latin-1")


async def _drip(writer: asyncio.StreamWriter, head: bytes, pause_s: float) -> None:
    """Send the head, then a body that never ends, one byte at a time."""
    for byte in head.replace(b"Content-Length: 0", b"Content-Length: 1000000"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(pause_s / 10)
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(pause_s)


async def _flood(writer: asyncio.StreamWriter, size: int) -> None:
    block = b" " * 65_536
    for start in range(0, size, len(block)):
        writer.write(block[: size - start])
        await writer.drain()


async def _serve(arguments: argparse.Namespace) -> None:
    behaviour = parse_behaviour(arguments.behaviour)
    sink = HttpSink(behaviour, host=arguments.host, port=arguments.port, ledger=arguments.ledger)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with sink:
        line = {"host": arguments.host, "port": sink.port, "url": sink.url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Run the sink as a process until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tapewatch.testing.http_sink")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--ledger", type=Path, help="file that each arrival is appended to")
    parser.add_argument("--behaviour", default="{}", help='JSON, for example {"status": 503}')
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
