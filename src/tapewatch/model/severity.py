"""How bad an alert is."""

from __future__ import annotations

from enum import IntEnum


class AlertSeverity(IntEnum):
    """Ordered severities: a higher number is worse.

    Upper case in JSONL and the API, lower case in Prometheus labels.
    """

    INFO = 10
    WARNING = 20
    CRITICAL = 30
    EMERGENCY = 40

    @classmethod
    def parse(cls, text: str) -> AlertSeverity:
        """Read a severity in any letter case.

        Raises:
            ValueError: The word is none of the four; the message lists them.
        """
        try:
            return cls[text.strip().upper()]
        except KeyError:
            words = ", ".join(s.label for s in cls)
            raise ValueError(f"unknown severity {text!r}; expected one of {words}") from None

    @property
    def label(self) -> str:
        """The lower-case word used as a Prometheus label value."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.name
