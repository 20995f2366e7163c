"""Write ImageNet's built-in class names and synsets from timm's ImageNetInfo; `--check` compares instead."""

import sys
from collections import Counter
from pathlib import Path

from edgeworthy.labels import ClassNames
from edgeworthy.sources.torchvision_shim import mend_torchvision

DATA = Path(__file__).parents[1] / "src" / "edgeworthy" / "data"
TARGET, SYNSETS = DATA / "imagenet-1k.txt", DATA / "imagenet-1k-synsets.txt"

# Synonyms that two classes share: what tells them apart.
APART = {
    134: "crane (bird)",
    517: "crane (machine)",
    264: "Cardigan (Welsh corgi)",
    474: "cardigan (garment)",
    638: "maillot (swimsuit)",
    639: "maillot (tank suit)",
}


def names() -> list[str]:
    """The first synonym of each class, made unique."""
    mend_torchvision()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [APART.get(i) or info.index_to_description(i).split(",")[0].strip() for i in range(1000)]


def synsets() -> list[str]:
    """The WordNet synset of each class."""
    mend_torchvision()
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-1k").label_names()


def main() -> int:
    """Write or compare."""
    made = names()
    ClassNames(tuple(made))
    twice = [name for name, count in Counter(map(str.casefold, made)).items() if count > 1]
    if twice:
        sys.exit(f"not unique: {twice}")
    texts = {target: "\n".join(lines) + "\n" for target, lines in ((TARGET, made), (SYNSETS, synsets()))}
    if "--check" in sys.argv:
        return int(any(target.read_text("utf-8") != text for target, text in texts.items()))
    for target, text in texts.items():
        target.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
