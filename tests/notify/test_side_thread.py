"""The side thread: in order, results and errors alike, and nothing that hangs keeps us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from tapewatch.notify.side_thread import SideThread


def test_calls_are_made_in_order_and_their_errors_arrive() -> None:
    done: list[int] = []

    def fail() -> int:
        raise OSError("disk")

    async def scenario() -> None:
        side = SideThread("side")
        results = [side.submit(lambda n=n: done.append(n) or n) for n in range(5)]
        assert await asyncio.gather(*results) == [0, 1, 2, 3, 4]
        with pytest.raises(OSError, match="disk"):
            await side.submit(fail)
        assert await side.submit(lambda: threading.current_thread().name) == "side"
        side.close()

    asyncio.run(scenario())
    assert done == [0, 1, 2, 3, 4]


def test_a_call_cancelled_before_its_turn_is_not_made() -> None:
    made = threading.Event()

    async def scenario() -> None:
        side = SideThread("side")
        gate = threading.Event()
        first = side.submit(gate.wait)
        second = side.submit(made.set)
        second.cancel()
        gate.set()
        await first
        await side.submit(lambda: None)
        side.close()

    asyncio.run(scenario())
    assert not made.is_set()


@pytest.mark.requirement("F13", "F26")
def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    code = (
        "import asyncio, time\n"
        "from tapewatch.notify.side_thread import SideThread\n"
        "async def main():\n"
        "    side = SideThread('side')\n"
        "    side.submit(lambda: time.sleep(60))\n"
        "    await asyncio.sleep(0.05)\n"
        "    side.close()\n"
        "asyncio.run(main())\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert time.monotonic() - started < 20
