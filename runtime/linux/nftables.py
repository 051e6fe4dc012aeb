"""nftables through libnftables: whole transactions, no helper program (libnftables(3))."""

from __future__ import annotations

import ctypes
import ctypes.util

from runtime.errors import SkiffError


class NftablesError(SkiffError):
    """The kernel or the library refused a transaction."""


class Nftables:
    """A libnftables context of the network namespace in which it was made."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("nftables") or "libnftables.so.1"
        try:
            self._library = ctypes.CDLL(name)
        except OSError as error:
            raise NftablesError("libnftables is not installed", "install it: `apt-get install nftables`") from error
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> None:
        """Carry out `commands` (nft(8) syntax) as one transaction: all of them or none. Raises NftablesError."""
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()):
            said = self._library.nft_ctx_get_error_buffer(self._context) or b""
            raise NftablesError(f"nftables refused:\n{said.decode(errors='replace').strip()}", "see `skiff doctor`")

    def close(self) -> None:
        """Free the context."""
        self._library.nft_ctx_free(self._context)
