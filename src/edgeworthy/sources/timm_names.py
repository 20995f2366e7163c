"""What timm's configurations settle about the names of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeworthy.labelfiles import read_class_names
from edgeworthy.labels import ClassNames
from edgeworthy.sources.names import mended

Names = tuple[ClassNames | None, tuple[str, ...]]

_IMAGENET = re.compile(r"in(1|11|12|21|22)k(_\d+)?$")  # the end of a tag; the number is the input's side
_IMAGENET_CLASSES = 1000


def names_of(config: Mapping[str, Any], classes: int, *, own: bool) -> Names:
    """Names for pretrained weights, where the configuration leaves no doubt which; else None and why.

    Args:
        config: a `pretrained_cfg`.
        classes: of the model's head.
        own: whether the configuration is timm's own, whose tag tells what the head was trained on; others
            may have inherited theirs.
    """
    listed = config.get("label_names")
    if listed is not None:
        return _listed(listed, config.get("label_descriptions"), classes)
    if not own or not _IMAGENET.search(str(config.get("tag", ""))):
        return None, ()
    if classes == _IMAGENET_CLASSES:
        return read_class_names("imagenet-1k"), ()
    return _of_subset(config, classes)


def _listed(listed: Any, described: Any, classes: int) -> Names:
    """The names of `label_names`, or the descriptions that all of them have: synsets are no names."""
    names = _in_order(listed)
    if names is None or len(names) != classes:
        found = "no list of texts" if names is None else f"{len(names)} names for {classes} classes"
        return None, (f"Class names are not taken from label_names, which holds {found}.",)
    if isinstance(described, Mapping) and all(isinstance(described.get(name), str) for name in names):
        names = [described[name] for name in names]
    return mended(names)


def _in_order(listed: Any) -> list[str] | None:
    """Names from a list, or from a mapping of each of 0, 1, 2 and so on."""
    if isinstance(listed, Mapping):
        by_id = {str(key): value for key, value in listed.items()}
        listed = [by_id.get(str(index)) for index in range(len(by_id))]
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        return None
    return list(listed)


def _of_subset(config: Mapping[str, Any], classes: int) -> Names:
    """The first word that WordNet has for each class of the larger ImageNets, which timm carries."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({**config, "num_classes": classes})
    if subset is None:
        return None, ()
    words = [text.partition(",")[0] for text in ImageNetInfo(subset).label_descriptions()]
    if len(words) != classes:
        return None, ()
    names, _ = mended(words)
    renamed = sum(name != word for name, word in zip(names, words, strict=True))
    return names, (f"Classes are named by timm's list {subset}; {renamed} of them are told apart by number.",)
