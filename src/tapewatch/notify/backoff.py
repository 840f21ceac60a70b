"""How long to wait before trying again: exponential, with jitter, capped."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits in seconds. The cap keeps the first delivery after an outage within half a minute."""

    first_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 30.0

    def wait_s(
        self, failures: int, rng: random.Random, retry_after_s: float | None = None
    ) -> float:
        """Return how long to wait after this many failures in a row, at least one.

        Between half of the exponential wait and all of it, evenly spread, so that receivers that
        failed together do not come back together. Never shorter than what the other side asked
        for.
        """
        exponent = min(max(failures, 1) - 1, 32)
        whole_s = min(self.first_s * self.factor**exponent, self.cap_s)
        return max(whole_s * rng.uniform(0.5, 1.0), retry_after_s or 0.0)
