"""`python -I -S .../runtime/oci/program ARGUMENT ...`: the program without `skiff`'s own command line."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3)))

from runtime.oci.program.shield import main

if __name__ == "__main__":
    main()
