"""The demo's own webhook receiver: stands outside the daemon and stamps every call it gets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tapewatch.demo.ledger import Notice

BODY_LIMIT = 4 << 20


def notices_in(body: bytes, received_ns: int) -> list[Notice]:
    """Read an Alertmanager webhook payload, version 4.

    Raises:
        ValueError: not that shape.
    """
    payload = json.loads(body)
    if not isinstance(payload, dict) or not isinstance(payload.get("alerts"), list):
        raise ValueError('expected an object with a list "alerts"')
    notices = []
    for alert in payload["alerts"]:
        labels: dict[str, Any] = alert["labels"]
        annotations: dict[str, Any] = alert.get("annotations") or {}
        notices.append(
            Notice(
                alert=str(labels["alertname"]),
                severity=str(labels.get("severity", "")).lower(),
                engine=str(labels.get("engine", "")),
                firing=alert.get("status") == "firing",
                received_ns=received_ns,
                summary=str(annotations.get("summary", "")),
            )
        )
    return notices


class AlertSink:
    """An HTTP server on loopback that hands every alert it is told of to a function."""

    def __init__(self, take: Callable[[Notice], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if not 0 <= length <= BODY_LIMIT:
                    self.send_error(413)
                    return
                body = self.rfile.read(length)
                received_ns = time.monotonic_ns()
                try:
                    notices = notices_in(body, received_ns)
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.send_error(400)
                    return
                for notice in notices:
                    take(notice)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the screen shows the alerts themselves."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="alert-sink", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/alerts"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
