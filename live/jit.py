"""The one way that numeric kernels are compiled: numba, without the GIL, cached on disk where the disk allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import numba

__all__ = ["cache_folder", "kernel"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SAFE_MATH = {"reassoc", "contract", "arcp", "nsz"}
"""What ``fast=True`` allows. ``nnan`` and ``ninf`` are not among it: with them ``isnan`` finds nothing, and an unseen
point (NaN) passes a gate."""


@overload
def kernel(function: _Function) -> Any: ...


@overload
def kernel(function: None = None, *, fast: bool = False) -> Callable[[_Function], Any]: ...


def kernel(function: _Function | None = None, *, fast: bool = False) -> Any:
    """Compile a function to machine code at its first call: ``@kernel`` or ``@kernel(fast=True)``.

    The code is kept in numba's cache (beside the source, in the user's cache folder, or in ``NUMBA_CACHE_DIR``). Where
    none of them can be written numba refuses to decorate at all; the function is then compiled anew in every process,
    which costs about a second each but nothing in the loop.

    Args:
        function: filled in by ``@kernel``.
        fast: let the compiler reorder sums and divisions. NaN keeps its meaning.
    """

    def compiled(target: _Function) -> Any:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        if fast:
            options["fastmath"] = _SAFE_MATH
        try:
            return numba.njit(cache=True, **options)(target)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(**options)(target)

    return compiled if function is None else compiled(function)


@kernel
def _nothing() -> int:
    return 0


def cache_folder() -> str:
    """Where compiled kernels are kept; empty if nowhere can be written, and every start compiles them anew."""
    return str(_nothing.stats.cache_path or "")
