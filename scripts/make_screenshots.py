"""Write the pictures of the page that stand in the README: `make_screenshots.py MODEL.onnx OTHER.onnx`."""

import io
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.chromium import ARGUMENTS, chromium  # noqa: E402
from tests.factory import classifier_file  # noqa: E402
from tests.serving import serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"
PHOTO = Path(skimage.__file__).parent / "data" / "motorcycle_left.png"
QUALITY, MARGIN = 82, 10


def main() -> None:
    """The result of a picture in light, and a file that was checked and repaired in dark."""
    files = [Path(name) for name in sys.argv[1:]]
    with sync_playwright() as playwright, serving(*files, jobs=1, allow_upload=True) as served:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS])
        page = browser.new_page(viewport={"width": 1240, "height": 800}, color_scheme="light")
        page.goto(served.address)
        page.set_input_files("#files", PHOTO)
        page.locator("#result .scores").nth(len(files) - 1).wait_for()
        save(page, "#result", "serve-result.jpg")
        page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="dark")
        page.goto(served.address)
        with tempfile.TemporaryDirectory() as folder:
            page.set_input_files("#upload-file", classifier_file(Path(folder) / "theirs.onnx", activation=""))
            page.get_by_text("EW501").first.wait_for()
        page.evaluate("document.activeElement.blur()")
        save(page, "#upload-body", "serve-rules.jpg", height=560)
        browser.close()


def save(page: Page, part: str, name: str, *, height: int | None = None) -> None:
    """A part of the page with a margin, cut off below where it is too high, as a JPEG file."""
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    box = page.locator(part).bounding_box()
    left, top, width = box["x"] - MARGIN, box["y"] - MARGIN, box["width"] + 2 * MARGIN
    clip = {"x": left, "y": top, "width": width, "height": height or box["height"] + 2 * MARGIN}
    image = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    image.save(IMAGES / name, quality=QUALITY, optimize=True)
    print(f"{IMAGES / name}: {image.width}x{image.height} px, {(IMAGES / name).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
