"""Makes .venv fit: `python3 -m stack.venv run|dev`, with nothing but Python's standard library. Quick when it is fit.

A mark with a hash of the requirements says that nothing changed. An interrupted attempt is thrown away and made again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UNFINISHED = VENV / ".unfinished"
BASE = Path(getattr(sys, "_base_executable", sys.executable))  # not the .venv's own, when that is activated


def fingerprint(requirements: Path) -> str:
    """Changes with the requirements, the version of Python, and the place (scripts in .venv name it)."""
    text = f"{requirements.read_text()}\n{sys.version_info[:2]}\n{VENV}"
    return hashlib.sha256(text.encode()).hexdigest()


def made_by_this_python() -> bool:
    """Whether .venv is whole and of this version of Python."""
    ask = [str(VENV / "bin" / "python"), "-c", "import pip, sys; print(sys.version_info[:2])"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return False
    return said == str(sys.version_info[:2])


def make() -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(
            f"Python's {' and '.join(missing)} is missing. Fix: install it (Debian, Ubuntu: apt install "
            f"python{version}-venv), or name another Python: make PYTHON=python3.12"
        )
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()
    _must([str(BASE), "-m", "venv", str(VENV)], "Python cannot make .venv")


def fit(kind: str) -> None:
    requirements = ROOT / f"requirements-{kind}.txt"
    mark = VENV / f".installed-{kind}"
    wanted = fingerprint(requirements)
    if not UNFINISHED.exists() and mark.exists() and mark.read_text() == wanted:
        return
    if UNFINISHED.exists() or not made_by_this_python():
        make()
    print(f"Installing {requirements.name} into .venv (once; about a minute) …", flush=True)
    UNFINISHED.touch()
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--require-hashes", "--no-input"]
    _must([*pip, "--disable-pip-version-check", "-r", str(requirements)], f"pip cannot install {requirements.name}")
    mark.write_text(wanted)
    UNFINISHED.unlink()


def _must(command: list[str], problem: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        sys.exit(f"{problem} (its own words are above). Fix that and try again; the next attempt starts afresh.")


if __name__ == "__main__":
    try:
        fit(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("Interrupted. The next attempt starts afresh.")
    except OSError as problem:
        sys.exit(
            f"Cannot write {problem.filename or '.venv'}: {problem.strerror}. Fix: make room, or the right to write."
        )
