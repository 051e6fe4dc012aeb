"""Names for annotations in what the keeper loads: `typing` itself, and `re` with it, would cost it a megabyte."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import NoReturn as NoReturn
else:
    Any = NoReturn = object
