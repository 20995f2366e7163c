"""`python -m edgeworthy`."""

from __future__ import annotations

from edgeworthy.cli import main

main()
