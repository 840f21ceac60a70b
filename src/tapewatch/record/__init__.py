"""What an engine imports: the Recorder. Light on purpose: ``import tapewatch.record`` costs
milliseconds, a tick about a microsecond."""

from __future__ import annotations

from tapewatch.record.paths import data_directory as data_directory
from tapewatch.record.recorder import Recorder as Recorder
from tapewatch.record.timers import Timer as Timer

__all__ = ["Recorder", "Timer", "data_directory"]
