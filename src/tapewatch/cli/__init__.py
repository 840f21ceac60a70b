"""The ``tapewatch`` command."""
