"""The alert record, as the rest of the daemon imports it.

It is written in ``model`` because receivers render it too, and they know only the model.
"""

from tapewatch.model.alert_record import (
    alert_record,
    format_time,
    notification_records,
    parse_record,
    parse_time,
    record_line,
)

__all__ = [
    "alert_record",
    "format_time",
    "notification_records",
    "parse_record",
    "parse_time",
    "record_line",
]
