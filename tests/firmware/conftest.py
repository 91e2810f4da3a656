"""The firmware's tests share one build of it."""

from pathlib import Path

import pytest
from simavr.emulator import UNO, firmware

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.firmware)


@pytest.fixture(autouse=True, scope="session")
def _built() -> None:
    """Build once, or skip all."""
    firmware(UNO)
