"""Run the benchmarks, all or the named ones, each in a process of its own: ``python -m bench``."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Return name and idea of every module here that can be run."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        has_main = any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in tree.body)
        if has_main and not file.name.startswith("_"):
            found[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(names: list[str]) -> int:
    """Run them one after another; exit code 1 when one missed its bar or failed."""
    known = benchmarks()
    unknown = [name for name in names if name not in {*known, "list"}]
    if unknown or names == ["list"]:
        if unknown:
            print(f"bench: no benchmark named {', '.join(unknown)}; there are:", file=sys.stderr)
        for name, idea in known.items():
            print(f"  {name:<22} {idea}")
        return 1 if unknown else 0
    failed = []
    for name in names or known:
        print(f"== {name}: {known[name]}", flush=True)
        # A process each: one benchmark's memory and threads are no part of another's figures.
        command = [sys.executable, "-m", f"bench.{name}"]
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode != 0:
            failed.append(name)
    print(f"bench: {len(names or known) - len(failed)} met their bars", flush=True)
    if failed:
        print(f"bench: missed or failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
