"""Label index, in-memory head, compressed chunks, retention, and the narrow ``Querier``."""
