"""The command line: parse, call one library function, render, return an exit code."""

from __future__ import annotations

from edgeworthy.cli.app import app, main

__all__ = ["app", "main"]
