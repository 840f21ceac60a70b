"""What a browser without the token gets: a form to enter it, in one self-contained answer."""

from __future__ import annotations

import base64
import hashlib

from starlette.responses import Response

_STYLE = """
:root { color-scheme: dark light; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; place-items: center; min-height: 100vh; margin: 0; }
form { display: grid; gap: .75rem; width: min(22rem, 90vw); }
h1 { font-size: 1.25rem; margin: 0; }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .5rem; }
input, button { border: 1px solid gray; }
"""

_PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tapewatch: log in</title><style>{_STYLE}</style></head>
<body><form method="post" action="/login">
<h1>Tapewatch</h1>
<label for="token">This page needs the token.</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form></body>
</html>
""".encode()

# The page must carry its few rules itself: without the token no other file is served.
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'self'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)


def login_page() -> Response:
    """Return the form, as a 401."""
    headers = {
        "content-security-policy": _POLICY,
        "www-authenticate": 'Bearer realm="tapewatch"',
    }
    return Response(_PAGE, 401, headers, "text/html; charset=utf-8")
