"""From float32 to 8-bit integers or half precision, step by step; `quantization.py` walks the road."""

from __future__ import annotations
