"""Rule files, the alert state machine, and evaluation the moment data arrive."""
