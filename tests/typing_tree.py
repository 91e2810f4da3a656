"""Show the folders to mypy under their installed names: `build/typing/poseloop/live` is a link to `live`.

Type checkers do not run the import hook by which an editable install maps `live/` to `poseloop.live`.
Run `python tests/typing_tree.py && mypy`.
"""

import os
import sys
from pathlib import Path

from repository import FOLDERS, ROOT


def link_folders(root: Path) -> Path:
    """Make the missing links under `root`/build/typing and return that folder."""
    tree = root / "build" / "typing"
    namespace = tree / "poseloop"
    namespace.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        link = namespace / folder
        if not link.exists():
            link.unlink(missing_ok=True)  # it may point to where the repository was before it moved
            _link(link, root / folder)
    return tree


def _link(link: Path, target: Path) -> None:
    if sys.platform == "win32":
        import _winapi  # a junction needs no privilege there, a symbolic link does

        _winapi.CreateJunction(str(target), str(link))
    else:
        link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)


if __name__ == "__main__":
    link_folders(ROOT)
