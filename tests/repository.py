"""The repository as its own tests see it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("live", "train", "drivers", "protocols", "bench")


def files() -> list[Path]:
    """List the files of the working tree that git tracks or does not ignore, relative to ROOT."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = {Path(name) for name in listing.split("\0") if name}
    return sorted(path for path in paths if (ROOT / path).is_file())
