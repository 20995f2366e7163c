"""The main job on real weights and real photographs, as commands that you can repeat."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import skimage

HERE = Path(__file__).parent
OUTPUT = Path("demo-output")
PHOTOS = ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png", "coins.png")


def run(*arguments: str | Path) -> None:
    """Show a command, run it, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ edgeworthy {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "edgeworthy", *words], check=True)


def main() -> None:
    """Export, check and classify; then the same road with random weights."""
    photos = OUTPUT / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        shutil.copy(Path(skimage.__file__).parent / "data" / name, photos / name)
    lite0, resnet = OUTPUT / "efficientnet_lite0.onnx", OUTPUT / "resnet18-untrained.onnx"
    source = f"{HERE.relative_to(Path.cwd()) / 'efficientnet_lite0.py'}:build"
    run("export", source, "--classes", "imagenet-1k", "--samples", photos, "-o", lite0, "--force")
    run("check", lite0)
    run("inspect", lite0)
    run("predict", lite0, photos, "--top-k", "3", "--sheet", OUTPUT / "contact-sheet.png", "--force")
    run("export", "timm:resnet18", "--untrained", "--classes", "imagenet-1k", "-o", resnet, "--force")
    run("check", resnet)
    print(f"\nThe files are in {OUTPUT}/; look at {OUTPUT / 'contact-sheet.png'}.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
