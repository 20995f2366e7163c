"""The pictures of a call: their names, what they are opened from, and how inputs become many of them."""

from __future__ import annotations

from edgeworthy.pictures.listing import EVERY, Pictures, list_pictures
from edgeworthy.pictures.picture import GIVE, Picture

__all__ = ["EVERY", "GIVE", "Picture", "Pictures", "list_pictures"]
