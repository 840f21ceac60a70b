"""Ask the public vulnerability database about everything that is locked, when it can be reached.

Exit code 1 when a locked version has a known vulnerability; 0 otherwise, also when nobody
answers, which is said.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 240
FOUND = "known vulnerabilit"


def main() -> int:
    command = [
        sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--disable-pip",
        "--require-hashes", "-r", str(ROOT / "requirements.lock"),
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"audit: no answer in {SECONDS} s; not audited")
        return 0
    output = (done.stdout + done.stderr).strip()
    if done.returncode == 0:
        print(f"audit: {output.splitlines()[-1] if output else 'nothing found'}")
        return 0
    if FOUND in output:
        print(output, file=sys.stderr)
        return 1
    reason = output.splitlines()[-1] if output else f"exit code {done.returncode}"
    print(f"audit: the database cannot be reached; not audited ({reason[:200]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
