"""The live page: a fixed set of files, read from the package once."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


def page_routes() -> list[Route]:
    """Return a route for every file of the page.

    A path is served only if it is a name in this table, so no trick with dots, slashes,
    encodings or links reaches any other file.
    """
    found: dict[str, bytes] = {}
    _collect(files("tapewatch.web").joinpath("static"), "", found)
    routes = [_route(f"/static/{name}", name, content) for name, content in found.items()]
    routes.append(_route("/", "index.html", found["index.html"]))
    routes.append(_route("/favicon.ico", "favicon.svg", found["favicon.svg"]))
    return routes


def _collect(folder: Traversable, prefix: str, found: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", found)
        elif entry.name.rpartition(".")[2] in _TYPES:
            found[prefix + entry.name] = entry.read_bytes()


def _route(path: str, name: str, content: bytes) -> Route:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "content-type": _TYPES[name.rpartition(".")[2]],
        # Checked at every load, so that a page never outlives an update of the daemon.
        "cache-control": "no-cache",
        "etag": tag,
    }

    async def show(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return Route(path, show)
