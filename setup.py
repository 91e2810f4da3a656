"""Map the repository's folders into the `poseloop` namespace: `live/` is installed as `poseloop.live`."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("live", "train", "drivers", "protocols", "bench")

setup(
    package_dir={f"poseloop.{folder}": folder for folder in FOLDERS},
    # Folders of data, such as the firmware, count as packages too; setuptools warns about them otherwise.
    packages=[
        f"poseloop.{name}"
        for folder in FOLDERS
        for name in (
            folder,
            *(f"{folder}.{inner}" for inner in find_namespace_packages(folder, exclude=["*__pycache__*"])),
        )
    ],
)
