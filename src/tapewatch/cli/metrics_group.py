"""``tapewatch metrics FIELD`` and ``tapewatch metrics export`` under one name."""

from __future__ import annotations

from typing import Any

import typer.core

_HELP = ("--help", "-h")


class MetricsGroup(typer.core.TyperGroup):
    """A group whose first word may be a field: then ``show`` is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``show`` in front of everything that does not name a command."""
        words = list(args)
        if not words or (words[0] not in self.commands and words[0] not in _HELP):
            words.insert(0, "show")
        return super().parse_args(ctx, words)
