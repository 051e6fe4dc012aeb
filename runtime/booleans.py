"""The texts that dockerd reads as booleans (Go, strconv.ParseBool)."""

from __future__ import annotations

TRUE, FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
