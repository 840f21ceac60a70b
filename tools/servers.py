"""See that the server binaries which tests drive are there: found, installed by CI, or named.

Under ``CI=true``, as root, on a machine with apt, what is missing is installed from the
distribution. Anywhere else nothing is touched: the tests that need a missing server are skipped
and say so (``tests/conftest.py``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# Program that tests call -> Debian package that holds it.
SERVERS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "chromium": "chromium",
    "strace": "strace",
}


def missing() -> list[str]:
    return [program for program in SERVERS if shutil.which(program) is None]


def main() -> int:
    absent = missing()
    if not absent:
        return 0
    packages = sorted({SERVERS[program] for program in absent})
    in_ci = os.environ.get("CI", "").lower() == "true"
    if in_ci and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"servers: installing {', '.join(packages)}", flush=True)
        # RUNLEVEL=1 keeps the packages from starting their services.
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(  # noqa: S603 - fixed commands
                command, env=environ, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)
                print(f"servers: {' '.join(command)} failed", file=sys.stderr)
                return 1
        absent = missing()
    if absent:
        needed = " ".join(sorted({SERVERS[program] for program in absent}))
        print(
            f"servers: not here: {', '.join(absent)}; the tests that need them are skipped"
            f" (to run them too: apt-get install {needed})",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
