"""Map the repository's folders into the `poseloop` namespace: `live/` is installed as `poseloop.live`."""

from setuptools import find_packages, setup

FOLDERS = ("live", "train", "drivers", "protocols", "bench")

setup(
    package_dir={f"poseloop.{folder}": folder for folder in FOLDERS},
    packages=[
        f"poseloop.{name}"
        for folder in FOLDERS
        for name in (folder, *(f"{folder}.{inner}" for inner in find_packages(folder)))
    ],
)
