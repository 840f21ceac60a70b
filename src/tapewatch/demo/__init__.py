"""A real paper-trading engine over recorded market data, and the faults that show it monitored."""
