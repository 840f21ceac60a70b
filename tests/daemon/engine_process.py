"""An engine for tests, in a process of its own: ticks, and does as its standard input says.

Lines: ``case NAME`` raises ``chaos_signal{case=NAME}``, ``stop`` ends with a goodbye. On standard
output, after each ``case`` and at the end, the number of ticks recorded so far.
"""

from __future__ import annotations

import select
import sys
import time

from tapewatch.record import Recorder


def main() -> None:
    """Tick at the given rate until told to stop."""
    name, rate, cadence = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    recorder = Recorder(name, cadence_s=cadence)
    tick = {"equity": 100_000.0, "pnl.daily": 0.0, "sequence": 0.0}
    ticks = 0
    next_tick = time.monotonic()
    print("ready", flush=True)
    while True:
        wait = max(next_tick - time.monotonic(), 0)
        if select.select([sys.stdin], [], [], wait)[0]:
            words = sys.stdin.readline().split()
            if not words or words[0] == "stop":
                break
            if words[0] == "case":
                recorder.record_metric("chaos_signal", 1.0, case=words[1])
            elif words[0] == "tick":
                recorder.record_tick({words[1]: float(words[2])})
                ticks += 1
            print(ticks, flush=True)
            continue
        tick["sequence"] = ticks
        recorder.record_tick(tick)
        ticks += 1
        next_tick += 1 / rate
    recorder.close()
    print(ticks, flush=True)


if __name__ == "__main__":
    main()
