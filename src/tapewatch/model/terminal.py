"""Text from outside made safe to print on a terminal: controls are shown, never obeyed."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f"  # C0, with ESC, CR, LF and TAB
    "\x7f-\x9f"  # DEL and C1, with the 8-bit CSI
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian vowel separator
    "\u200b-\u200f"  # zero width characters and direction marks
    "\u2028-\u202e"  # line and paragraph separators, bidirectional embeddings and overrides
    "\u2060-\u206f"  # word joiner, bidirectional isolates, deprecated format characters
    "\ufeff\ufff9-\ufffb"  # byte order mark, interlinear annotations
    "\ud800-\udfff"  # lone surrogates cannot be encoded at all
    "\U000e0000-\U000e007f"  # tag characters
    "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b"}
CUT = "…"


def escape_controls(text: str, width: int | None = None) -> str:
    """Return the text with everything that a terminal might obey shown as an escape.

    C0, DEL, C1 (``\\x9b`` is an 8-bit escape sequence), bidirectional and zero-width controls and
    lone surrogates become ``\\n``, ``\\x1b`` or ``\\u202e``. A backslash is left as it is: the
    result is for eyes, not for parsing back (``--json`` stays exact).

    Args:
        text: Anything that came from an engine, a label, a rule or a receiver's answer.
        width: Longest result in characters; longer text is cut and ends in ``…``. An escape is
            never cut in two. None leaves the length alone; a width below 1 gives ''.

    >>> escape_controls("P&L \\x1b[31mred\\x1b[0m")
    'P&L \\\\x1b[31mred\\\\x1b[0m'
    >>> escape_controls("heartbeat lapsed", width=10)
    'heartbeat…'
    """
    if width is None:
        return _UNSAFE.sub(_shown, text)
    if width < 1:
        return ""
    # Escapes only lengthen, so nothing behind `width + 1` characters can be seen.
    cells = [_UNSAFE.sub(_shown, char) for char in text[: width + 1]]
    shown = "".join(cells)
    if len(shown) <= width:
        return shown
    room = width - len(CUT)
    kept = ""
    for cell in cells:
        if len(kept) + len(cell) > room:
            break
        kept += cell
    return kept + CUT


def _shown(match: re.Match[str]) -> str:
    char = match.group()
    short = _SHORT.get(char)
    if short is not None:
        return short
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
