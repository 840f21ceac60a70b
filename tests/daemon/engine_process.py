"""An engine for tests, in a process of its own: ticks, and does as its standard input says.

Lines: ``case NAME`` raises ``chaos_signal{case=NAME}``, ``tick NAME VALUE`` records a tick of one
field, ``error`` records one, ``rate N`` ticks so often a second from now on, ``stop`` ends with a
goodbye. On standard output, after each of them, the number of ticks recorded so far.
"""

from __future__ import annotations

import select
import sys
import time

from tapewatch.record import Recorder


def main() -> None:
    """Tick at the given rate until told to stop."""
    name, rate, cadence = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    frame_bytes = int(sys.argv[4]) if len(sys.argv) > 4 else 64 << 20
    recorder = Recorder(name, cadence_s=cadence, frame_bytes=frame_bytes)
    tick = {"equity": 100_000.0, "pnl.daily": 0.0, "sequence": 0.0, "written_at": 0.0}
    ticks = 0
    next_tick = time.monotonic()
    print("ready", flush=True)
    while True:
        # A spike comes in bursts of a millisecond: looking for orders after each tick costs more
        # than the tick.
        wait = max(next_tick - time.monotonic(), 0.001 if rate > 1000 else 0)
        if select.select([sys.stdin], [], [], wait)[0]:
            words = sys.stdin.readline().split()
            if not words or words[0] == "stop":
                break
            if words[0] == "case":
                recorder.record_metric("chaos_signal", 1.0, case=words[1])
            elif words[0] == "error":
                recorder.record_error("raised on request")
            elif words[0] == "rate":
                rate, next_tick = float(words[1]), time.monotonic()
            elif words[0] == "tick":
                recorder.record_tick({words[1]: float(words[2])})
                ticks += 1
            print(ticks, flush=True)
            continue
        tick["written_at"] = time.time()
        for _ in range(max(int((time.monotonic() - next_tick) * rate), 1)):
            tick["sequence"] = ticks
            recorder.record_tick(tick)
            ticks += 1
            next_tick += 1 / rate
    recorder.close()
    print(ticks, flush=True)


if __name__ == "__main__":
    main()
