"""Write the built-in ImageNet class names from timm's ImageNetInfo; `--check` compares instead."""

import sys
from collections import Counter
from pathlib import Path

from edgeworthy.labels import ClassNames
from edgeworthy.sources.torchvision_shim import mend_torchvision

TARGET = Path(__file__).parents[1] / "src" / "edgeworthy" / "data" / "imagenet-1k.txt"

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


def main() -> int:
    """Write or compare."""
    made = names()
    ClassNames(tuple(made))
    twice = [name for name, count in Counter(map(str.casefold, made)).items() if count > 1]
    if twice:
        sys.exit(f"not unique: {twice}")
    text = "\n".join(made) + "\n"
    if "--check" in sys.argv:
        return int(TARGET.read_text("utf-8") != text)
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
