"""What it takes to be a receiver."""

from __future__ import annotations

from typing import Protocol

from tapewatch.model.notification import Notification


class Receiver(Protocol):
    """Takes notifications to one place. One ``send`` at a time; the dispatcher sees to that.

    A new kind is one folder under ``notify/`` and one line in ``registry``; it passes the suite
    in ``tapewatch.testing.receivers``.
    """

    @property
    def name(self) -> str:
        """The name by which the configuration calls it."""
        ...

    @property
    def kind(self) -> str:
        """``log``, ``jsonl``, ``webhook``."""
        ...

    @property
    def keeps_every(self) -> bool:
        """True when each notification matters by itself, as in a file.

        Else, after an outage, only the newest about one subject is sent.
        """
        ...

    async def prepare(self) -> None:
        """Do ahead what would make the first ``send`` slow; called once, may be cancelled.

        It reports nothing: what does not work now is found out by ``send``.
        """
        ...

    async def send(self, notification: Notification) -> None:
        """Deliver, and return once it is accepted.

        The dispatcher cancels it at the total deadline. It may be called again with the same
        ``notification.key`` when it is not known whether the last call arrived.

        Raises:
            DeliveryError: It was not accepted. ``permanent`` says that trying again is useless;
                ``retry_after_s`` is how long the other side asked to wait. The text is for
                people and holds no secret and no path of a URL.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads. Called once, after the last ``send``."""
        ...
