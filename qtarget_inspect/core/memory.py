"""Memory: large results and the temporaries of chunks without a page fault for every 4 KiB."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from qtarget_inspect.core.fast_paths import fast_paths_enabled

KEPT_BYTES = 31 * 2**20
"""Just below the largest block that glibc may decide to keep, 32 MiB on 64-bit machines."""

HUGE_PAGE = 2**21
"""Bytes of a huge page on x86-64 and most ARM kernels."""

_MADV_HUGEPAGE = 14


@functools.cache
def keep_freed_memory() -> None:
    """Free one block of 31 MiB that was never written to, so that later blocks up to that size are reused.

    glibc hands out large blocks straight from the kernel and gives them back when they are freed; the next one costs a
    page fault for every 4 KiB, which for the temporaries of a chunk can take longer than the arithmetic on them. It
    learns from what is freed: blocks up to the size of the largest one so far come from the heap, of which it keeps
    twice that much. The block itself is never touched and costs nothing; once a process is enough. Other C libraries
    and CUDA have rules of their own, and are not harmed.
    """
    library = _c_library()
    if library is None or not hasattr(library, "malloc") or not hasattr(library, "free"):
        return
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    library.free(library.malloc(KEPT_BYTES))


def empty(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An uninitialised tensor, in huge pages where Linux offers them.

    A fresh result of 100 MB is 25,000 page faults, three times what writing a softmax into it takes; in pages of 2 MiB
    it is 50. Where the system does not offer them the tensor is an ordinary one.

    Args:
        *shape: its shape.
        dtype: its type.
        device: where it lies.

    Returns:
        The tensor.
    """
    tensor = torch.empty(shape, dtype=dtype, device=device)
    if tensor.nbytes >= 4 * HUGE_PAGE and device.type == "cpu" and fast_paths_enabled():
        advise = _advice()
        start = -(-tensor.data_ptr() // HUGE_PAGE) * HUGE_PAGE
        end = (tensor.data_ptr() + tensor.nbytes) // HUGE_PAGE * HUGE_PAGE
        if advise is not None and end > start:
            advise(start, end - start, _MADV_HUGEPAGE)  # advice: a refusal changes nothing
    return tensor


@functools.cache
def _advice() -> Callable[[int, int, int], int] | None:
    """madvise of the C library; None where there is none."""
    library = _c_library()
    if library is None or not hasattr(library, "madvise"):
        return None
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.madvise.restype = ctypes.c_int
    return library.madvise


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    """The C library on Linux, None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None)
    except OSError:
        return None
