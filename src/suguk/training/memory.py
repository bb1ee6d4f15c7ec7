"""What the C library does with freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP = 2**29  # bytes at the top of the heap that may stay unused
LARGEST = 2**25  # bytes of a block that still comes from the heap: the most that glibc allows
SPARING = 2**23  # larger ones leave the heap in pieces that do not fit batches of other shapes


def keep_freed_memory(*, sparing: bool = False) -> None:
    """Keep what one update frees for the next one, where the C library is glibc; elsewhere do nothing.

    By default glibc returns large blocks to the system, which hands them out again page by page, zeroed, at every
    update. sparing: let it do so with blocks of 8 MB and more, for less memory.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_THRESHOLD, SPARING if sparing else LARGEST)
        library.mallopt(M_TRIM_THRESHOLD, KEEP)
