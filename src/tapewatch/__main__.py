"""``python -m tapewatch`` is the ``tapewatch`` command."""

from tapewatch.cli.main import run

if __name__ == "__main__":
    run()
