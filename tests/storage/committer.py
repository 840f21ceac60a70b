"""A process that commits in a loop and says what became of it: run by the tests that hurt it.

``python committer.py state|samples PATH COUNT``: commits the numbers from the last one found on,
and prints ``ok N`` once N is durable, or the reason why it is not and tries N again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.errors import StorageError
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity
from tapewatch.storage.effects import Effects, EventRow
from tapewatch.storage.state import StateStore

MOST_TRIES = 200


def effects(number: int) -> Effects:
    """Return the effects of one round: every table tells the same number."""
    alert = Alert(
        id=f"a-{number}",
        fingerprint="a",
        rule="r",
        group="g",
        severity=AlertSeverity.WARNING,
        state=AlertState.FIRING,
        labels=Labels.of("ALERTS"),
        annotations={},
        value=1.0,
        active_at_ns=number,
        updated_at_ns=number,
        fired_at_ns=number,
    )
    told = Notification(f"k{number}", "desk", NotifyReason.FIRST_NOTIFICATION, (alert,), number)
    return Effects(
        offsets={"tape": {"n": number}},
        transitions=[Transition(alert, None, number)],
        notifications=[told],
        events=[EventRow("tape", "fill", number, number, {"pad": "x" * 300})],
        engines={"alpha": {"n": number}},
        values={"n": number},
    )


def commit_state(path: Path, count: int) -> None:
    """Commit numbers to a state store."""
    store = StateStore.open(path, now_ns=0)
    first = store.load().values.get("n", 0) + 1
    for number in range(first, first + count):
        for _ in range(MOST_TRIES):
            try:
                store.commit(effects(number))
            except StorageError as error:
                print(error.reason, number, flush=True)
            else:
                print("ok", number, flush=True)
                break


def commit_samples(path: Path, count: int) -> None:
    """Write one row of samples for each number, and the number as the watermark."""
    # Here, because the other kind starts in half the time without them.
    import numpy as np

    from tapewatch.series.head import Head
    from tapewatch.storage.samples import SampleStore

    store = SampleStore.open(path, now_ns=0, min_free_bytes=0)
    head = Head()
    table = head.table([Labels.of("a"), Labels.of("b")])
    first = store.watermarks().get("tape", {}).get("n", 0) + 1
    for number in range(first, first + count):
        table.append(np.array([number], np.int64), np.array([[number * 1.0, number / 7]]))
        for _ in range(MOST_TRIES):
            try:
                drained = head.drain_for_chunks(number)
                store.write(drained, {"tape": {"n": number}})
            except StorageError as error:
                print(error.reason, number, flush=True)
            else:
                head.persisted(drained)
                print("ok", number, flush=True)
                break


if __name__ == "__main__":
    kind, where, rounds = sys.argv[1:]
    {"state": commit_state, "samples": commit_samples}[kind](Path(where), int(rounds))
