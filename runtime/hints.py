"""Names for annotations in modules that the keeper imports: `typing`, which imports `re`, would cost it a megabyte."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import NoReturn as NoReturn
else:
    Any = NoReturn = object
