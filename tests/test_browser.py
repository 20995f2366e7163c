"""The page of `edgeworthy serve`, as people and their browsers meet it: Chromium against the real server."""

import base64
import csv
import io
import json
import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from edgeworthy import check
from edgeworthy.evidence import PREFIX
from edgeworthy.frames import Frame
from tests.chromium import ARGUMENTS, MISSING, chromium
from tests.factory import classifier_file
from tests.serving import serving

CHROMIUM = chromium()
if CHROMIUM is None:
    pytest.skip(MISSING, allow_module_level=True)
pytestmark = pytest.mark.xdist_group("browser")  # one browser and three servers for all of them

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PATIENCE_MS = 15_000  # rules take seconds where others work, too
KEY = "a key of many letters"
SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
CROP = Frame(mode="crop", height=12, width=16, resize=(12, 16), resize_rule="cover-round")


def seeing(model):
    """The class is the strongest channel; the evidence says that the training cropped."""
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(3, dtype=np.float32) * 2, "weight"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "bias"))
    model.metadata_props.add(key=PREFIX + "frame", value=CROP.to_json())


def hostile(model):
    """All of it looks like markup."""
    seeing(model)
    model.producer_name = IMAGE
    model.metadata_props.add(key=SCRIPT, value=IMAGE)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    classifier_file(place / "colours.onnx", names=("red", "green", "blue"), edit=seeing)
    classifier_file(place / "hues.onnx", names=("red", "green", "violet"), edit=seeing)
    classifier_file(place / "<b>bold<i>.onnx", names=(SCRIPT, IMAGE, "=1+1"), edit=hostile)
    classifier_file(place / "many.onnx", names=[f"thing {number}" for number in range(1000)])
    classifier_file(place / "logits.onnx", activation="", edit=seeing)
    return place


@pytest.fixture(scope="module")
def addresses(models):
    """Of a server that takes uploads, of one with odd models that takes none, and of one that wants a key."""
    plain = [models / name for name in ("colours.onnx", "hues.onnx")]
    odd = [models / name for name in ("<b>bold<i>.onnx", "many.onnx", "logits.onnx")]
    with (
        serving(*plain, jobs=1, allow_upload=True) as open_to_all,
        serving(*odd, jobs=1) as strange,
        serving(*plain, jobs=1, api_key=KEY) as locked,
    ):
        yield {"plain": open_to_all.address, "odd": strange.address, "locked": locked.address}


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *FAKE_CAMERA])
        yield started
        started.close()


@pytest.fixture
def visit(browser, addresses):
    """Opens the page; in the end nothing may have run, been logged, or gone to another place.

    `refused` names what the browser may say of answers: that they are errors which the test asks for.
    """
    contexts, wrong, asked = [], [], []

    def listen(page, address, refused):
        def logged(message):
            if message.type in {"error", "warning"} and not re.search(refused or "(?!)", message.text):
                wrong.append(message.text)

        def requested(request):
            asked.append(f"{request.method} {request.url.removeprefix(address)}")
            if not request.url.startswith((address, "blob:", "data:")):
                wrong.append(request.url)

        page.on("console", logged)
        page.on("filechooser", lambda _: None)  # from the start: Chromium takes a while to hand choosers over
        page.on("request", requested)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open_page(which="plain", *, refused="", width=1280, before="", **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.asked = asked
        listen(page, addresses[which], refused)
        if before:
            page.add_init_script(before)
        page.goto(addresses[which])
        if which != "locked":
            expect(page.locator("#models-body article").first).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def picture(colour, size=(40, 30), kind="PNG"):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, kind)
    return content.getvalue()


def parted():
    """Its middle is red, all of it is rather green."""
    whole = Image.new("RGB", (64, 12), "lime")
    whole.paste(Image.new("RGB", (20, 12), "red"), (22, 0))
    content = io.BytesIO()
    whole.save(content, "PNG")
    return content.getvalue()


def transfer(page, *files):
    """A DataTransfer that holds files, of a content or a size."""
    told = [
        [name, content if isinstance(content, int) else base64.b64encode(content).decode()]
        for name, content in files
    ]
    return page.evaluate_handle(
        """(files) => {
            const carried = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = typeof content === "number" ? new Uint8Array(content)
                    : Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                carried.items.add(new File([bytes], name));
            }
            return carried;
        }""",
        told,
    )


def drop(page, *files, at="#drop"):
    carried = transfer(page, *files)
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(at, event, {"dataTransfer": carried})


def predictions(page):
    return [request for request in page.asked if request.startswith("POST /v1/predict")]


def column(page, model):
    return page.locator("#result article").filter(has=page.get_by_role("heading", name=model, exact=True))


def top(page, model):
    return column(page, model).locator(".scores .name").first


def about(page, model):
    """A model's place in the list of models."""
    return page.locator("#models-body article").filter(
        has=page.get_by_role("heading", name=model, exact=True)
    )


def saved(page, button):
    with page.expect_download() as arriving:
        page.get_by_role("button", name=button).click()
    return arriving.value


def test_dropped_pictures_are_answered_one_after_the_other(visit):
    page = visit()
    drop(page, ("sky.png", picture("blue")), ("poppy.jpg", picture("red", kind="JPEG")))
    expect(page.get_by_role("heading", name="sky.png")).to_be_visible()
    expect(top(page, "colours")).to_have_text("blue")
    expect(column(page, "colours").locator(".scores li")).to_have_count(3)
    expect(column(page, "colours").locator(".scores .number").first).to_have_text(re.compile(r"^\d+\.\d %$"))
    expect(page.locator("#status")).to_have_text("2 of 2 pictures answered.")
    expect(page.locator("#tiles button")).to_have_count(2)
    assert len(predictions(page)) == 2
    assert "over" not in page.locator("#drop").get_attribute("class")


def test_a_picture_may_be_dropped_beside_the_zone(visit):
    page = visit()
    drop(page, ("leaf.png", picture("lime")), at="footer")
    expect(top(page, "colours")).to_have_text("green")
    expect(page.locator("#status")).to_contain_text("leaf.png is answered. colours says “green”")


def test_a_picture_is_pasted(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (content) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const blob = new Blob([bytes], {type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        base64.b64encode(picture("blue")).decode(),
    )
    page.keyboard.press("Control+V")
    expect(top(page, "colours")).to_have_text("blue")


def test_frames_are_switched_without_asking_again(visit):
    page = visit()
    drop(page, ("wide.png", parted()))
    box = column(page, "colours")
    expect(box.get_by_role("radio")).to_have_count(3)
    crop = box.get_by_role("radio", name="crop the file's own")
    expect(crop).to_be_checked()
    expect(top(page, "colours")).to_have_text("red")
    disagreement = "The frames disagree: crop says “red”, letterbox says “green” and stretch says “green”."
    expect(box.get_by_text(disagreement)).to_be_visible()
    sizes = box.locator("fieldset img").evaluate_all(
        "all => all.map(one => [one.naturalWidth, one.naturalHeight])"
    )
    assert sizes == [[16, 12]] * 3
    box.get_by_role("radio", name="stretch").check()
    expect(top(page, "colours")).to_have_text("green")
    expect(page.locator("#tiles button")).to_contain_text("colours, stretch: “green”")
    expect(page.locator("#result .together")).to_have_text(
        "The models disagree: colours says “green” and hues says “red”."
    )
    assert len(predictions(page)) == 1


def test_models_are_compared_and_switched_off(visit):
    page = visit()
    drop(page, ("poppy.png", picture("red")))
    together = page.locator("#result .together")
    expect(together).to_have_text("Both models say “red”.")
    page.get_by_role("checkbox", name="hues").uncheck()
    expect(column(page, "hues")).to_have_count(0)
    expect(together).to_be_hidden()
    drop(page, ("leaf.png", picture("lime")))
    expect(page.get_by_role("heading", name="leaf.png")).to_be_visible()
    drop(page, ("sky.png", picture("blue")))
    expect(page.get_by_role("heading", name="sky.png")).to_be_visible()
    assert "model=hues" not in predictions(page)[1]
    page.get_by_role("checkbox", name="hues").check()
    expect(top(page, "hues")).to_have_text("violet")
    expect(together).to_have_text("The models disagree: colours says “blue” and hues says “violet”.")
    assert len(predictions(page)) == 4
    assert "model=colours" not in predictions(page)[3]
    page.locator("#tiles button", has_text="leaf.png").click()
    expect(top(page, "hues")).to_have_text("green")
    page.locator("#tiles button", has_text="poppy.png").click()
    expect(top(page, "hues")).to_have_text("red")
    assert len(predictions(page)) == 5


def test_without_a_model_nobody_is_asked(visit):
    page = visit()
    for name in ("colours", "hues"):
        page.get_by_role("checkbox", name=name).uncheck()
    drop(page, ("poppy.png", picture("red")))
    expect(page.get_by_role("alert").get_by_text("No model is chosen.")).to_be_visible()
    assert predictions(page) == []


def test_a_broken_picture_is_named_and_the_others_are_answered(visit):
    page = visit(refused="422")
    drop(page, ("notes.png", b"no picture"), ("poppy.png", picture("red")))
    expect(top(page, "colours")).to_have_text("red")
    expect(page.locator("#pictures-alert")).to_contain_text("notes.png")
    expect(page.locator("#status")).to_have_text("1 of 2 pictures answered.")
    drop(page, ("leaf.png", picture("lime")))
    expect(top(page, "colours")).to_have_text("green")
    expect(page.locator("#pictures-alert")).to_be_empty()


def test_a_picture_that_is_too_large_is_not_sent(visit):
    page = visit()
    drop(page, ("huge.bmp", 32 * 2**20 + 1))
    expect(page.locator("#pictures-alert")).to_contain_text(
        "It has 33.6 MB; the server takes 33.6 MB at most."
    )
    assert predictions(page) == []


def test_what_the_browser_cannot_show_is_answered_all_the_same(visit):
    page = visit()
    drop(page, ("scan.tiff", picture("red", kind="TIFF")))
    expect(top(page, "colours")).to_have_text("red")
    expect(page.get_by_text("The browser cannot show this file")).to_be_visible()
    assert page.locator(".sent img").evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 16


def test_what_looks_like_markup_is_text(visit):
    page = visit("odd")
    drop(page, (f"{SCRIPT[:8]}{IMAGE}.png", picture("lime")))
    name = "<b>bold<i>"
    expect(top(page, name)).to_have_text(IMAGE)
    expect(page.locator("#result .together")).to_contain_text(f"“{IMAGE}”")
    expect(page.locator("#result-title")).to_contain_text("onerror=alert(1)")
    box = about(page, name)
    box.get_by_text("Card").click()
    expect(box.locator(".classes li")).to_have_text([f"0 {SCRIPT}", f"1 {IMAGE}", "2 =1+1"])
    expect(box.locator(".facts dt", has_text=SCRIPT)).to_be_visible()
    expect(box.locator(".facts dd", has_text=IMAGE)).to_have_count(3)  # producer, output, metadata
    box.get_by_text("Rules", exact=True).click()
    expect(box.locator(".verdict")).to_be_visible()
    assert page.locator("main script, main b b, main i, img[src=x]").count() == 0


def test_scores_that_are_no_probabilities_keep_their_bars(visit):
    page = visit("odd")
    drop(page, ("leaf.png", picture("lime")))
    box = column(page, "logits")
    expect(box.get_by_text("These scores are no probabilities.")).to_be_visible()
    expect(box.locator(".scores .number").first).not_to_contain_text("%")
    widths = box.locator(".bar").evaluate_all(
        "bars => bars.map(bar => bar.firstChild.getBoundingClientRect().width / bar.clientWidth)"
    )
    assert widths[0] == pytest.approx(1, abs=0.01)
    assert min(widths) == 0


def test_scores_that_are_no_numbers_are_said_to_be_none(visit):
    page = visit()

    def spoilt(route):
        answer = route.fetch()
        told = answer.json()
        for one in told["pictures"][0]["answers"]:
            for score in one["scores"]:
                score["probability"] = None
        route.fulfill(response=answer, json=told)

    page.route("**/v1/predict*", spoilt)
    drop(page, ("leaf.png", picture("lime")))
    expect(column(page, "colours").locator(".scores .number")).to_have_text(["not a number"] * 3)
    expect(page.locator("#result .together")).to_contain_text("colours says nothing certain")


def test_classes_are_searched_as_one_types(visit):
    page = visit("odd")
    box = about(page, "many")
    box.get_by_text("Card").click()
    expect(box.get_by_text("1000 classes", exact=True)).to_be_visible()
    box.get_by_role("searchbox").press_sequentially("THING 99")
    matches = box.locator("[role=status]", has_text="match")
    expect(matches).to_have_text("19 of 1000 classes match.")
    expect(box.locator(".classes li:visible")).to_have_count(19)
    box.get_by_role("searchbox").fill("999")
    expect(matches).to_have_text("1 of 1000 classes matches.")
    box.get_by_role("searchbox").fill("")
    expect(box.locator(".classes li:visible")).to_have_count(1000)


def test_rules_are_read_when_asked_for_and_the_command_is_copied(visit):
    page = visit("odd", permissions=["clipboard-read", "clipboard-write"])
    box = about(page, "logits")
    assert not [request for request in page.asked if "/check" in request]
    box.get_by_text("Rules", exact=True).click()
    expect(box.get_by_text("Checking the file.")).to_be_visible()
    finding = box.locator(".finding.error", has_text="EW501")
    expect(finding).to_contain_text("Error EW501 not-probabilities")
    expect(finding).to_contain_text("The platform compares them with thresholds")
    expect(box.get_by_text("Checking the file.")).to_have_count(0)
    box.get_by_text("Skipped rules").click()
    expect(box.get_by_text("EW504 softmax-twice")).to_be_visible()
    box.get_by_role("button", name="Copy the command").click()
    expect(box.get_by_text("Copied.")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("edgeworthy repair logits.onnx")


def test_what_was_tried_is_shown_again_and_taken_along(visit):
    page = visit("odd")
    drop(page, ('=leaf, "green".png', picture("lime")), ("sky.png", picture("blue")))
    expect(page.locator("#tiles button")).to_have_count(2)
    page.locator("#tiles button").first.click()
    expect(page.locator("#result-title")).to_have_text("sky.png")
    expect(page.locator("#result-title")).to_be_focused()
    column(page, "<b>bold<i>").get_by_role("radio", name="stretch").check()

    told = json.loads(saved(page, "Download as JSON").path().read_text("utf-8"))
    first, second = told["pictures"]
    assert (first["name"], first["width_px"], first["height_px"]) == ('=leaf, "green".png', 40, 30)
    assert second["chosen"] == {"<b>bold<i>": "stretch", "many": "letterbox", "logits": "crop"}
    assert len(second["answers"]) == 9
    assert "image" not in second["answers"][0]

    content = saved(page, "Download as CSV").path().read_bytes().decode("utf-8")
    header, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    assert header == ["picture", "model", "frame", "rank", "class_id", "name", "probability"]
    assert content.count("\r\n") == len(rows) + 1 == 2 * 3 * (3 + 5 + 3) + 1
    assert rows[0][:6] == ['\'=leaf, "green".png', "<b>bold<i>", "crop", "1", "1", IMAGE]
    assert 0.33 < float(rows[0][6]) <= 1
    assert "'=1+1" in {row[5] for row in rows}
    logits = [row for row in rows if row[1] == "logits"]
    assert any(row[6].startswith("-") for row in logits)  # numbers stay numbers

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#tried")).to_be_hidden()
    expect(page.locator("#result")).to_be_hidden()


def test_without_uploads_the_page_says_how_to_allow_them(visit):
    page = visit("odd")
    expect(page.locator("#upload")).to_be_hidden()
    drop(page, ("theirs.onnx", b"whatever"))
    expect(page.locator("#pictures-alert")).to_contain_text("--allow-upload")
    assert not [request for request in page.asked if "/v1/uploads" in request]


def test_a_broken_model_is_refused_and_another_is_repaired_and_downloaded(visit, tmp_path):
    page = visit(refused="422")
    upload = page.locator("#upload")
    drop(page, ("broken.onnx", b"no model"), at="#upload-drop")
    expect(page.locator("#upload-alert")).to_contain_text("broken.onnx")
    expect(page.locator("#upload-body")).to_be_empty()

    theirs = classifier_file(tmp_path / "theirs.onnx", opset=17, activation="", normalization=None)
    drop(page, (theirs.name, theirs.read_bytes()))  # the place for pictures knows where it belongs
    expect(page.locator("#upload-alert")).to_be_empty()
    expect(upload.locator(".finding.error")).to_contain_text("EW501")
    expect(upload.get_by_text(f"{theirs.stat().st_size} bytes", exact=True)).to_be_visible()
    repair = upload.get_by_role("button", name="Repair", exact=True)

    upload.get_by_label("Mean").fill("a half")
    repair.click()
    expect(page.locator("#upload-alert")).to_contain_text("The mean is not made of numbers.")
    expect(upload.get_by_label("Mean")).to_be_focused()
    upload.get_by_label("Mean").fill("0.5, 0.5 0.5")
    repair.click()
    expect(page.locator("#upload-alert")).to_contain_text("without")
    upload.get_by_label("Standard deviation").fill("0.25 0.25 0.25")
    upload.get_by_role("textbox", name="Classes").fill("ant\nbee\n\nwasp\n")
    upload.get_by_label("Opset").select_option("13")
    upload.get_by_label("Strict").check()
    upload.get_by_label("unit-scale").check()
    with page.expect_request("**/repair") as asking:
        repair.click()
    assert asking.value.post_data_json == {
        "classes": ["ant", "bee", "wasp"],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "opset": 13,
        "strict": True,
        "allow": ["unit-scale"],
    }
    expect(upload.get_by_role("heading", name="What was repaired")).to_be_focused()
    expect(page.locator("#upload-alert")).to_be_empty()
    expect(upload.locator(".changes")).to_contain_text("not-probabilities:")
    expect(upload.get_by_text("The repaired file predicts what the file predicted.")).to_be_visible()
    expect(upload.get_by_text("The file keeps the platform's contract.")).to_be_visible()
    upload.get_by_text("Card", exact=True).click()
    expect(upload.locator(".classes li")).to_have_text(["0 ant", "1 bee", "2 wasp"])

    arrived = saved(page, "Download the repaired file")
    assert arrived.suggested_filename == "theirs-repaired.onnx"
    ours = tmp_path / "ours.onnx"
    arrived.save_as(ours)
    assert check(ours).conforms
    expect(upload.get_by_text(f"{ours.stat().st_size} bytes", exact=True)).to_be_visible()
    assert onnx.load(ours).opset_import[0].version == 13

    page.get_by_role("button", name="Remove the file").click()
    expect(page.locator("#upload-body")).to_be_empty()
    assert len([request for request in page.asked if request.startswith("DELETE /v1/uploads/")]) == 1


def test_a_key_is_asked_for_and_kept_for_the_tab(visit):
    page = visit("locked", refused="401")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("API key").fill("a wrong one")
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("The server did not take this key.")).to_be_visible()
    expect(dialog.get_by_label("API key")).to_have_attribute("type", "password")
    page.keyboard.press("Escape")
    expect(page.locator("#alert")).to_contain_text("key")
    page.get_by_role("button", name="Try again").click()
    dialog.get_by_label("API key").fill(KEY)
    dialog.get_by_role("button", name="Use this key").click()
    drop(page, ("poppy.png", picture("red")))
    expect(top(page, "colours")).to_have_text("red")
    page.reload()
    expect(page.locator("#models-body article").first).to_be_visible()
    expect(dialog).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_a_busy_server_is_asked_again(visit):
    page = visit(refused="429")
    calls = []

    def busy_once(route):
        calls.append(route.request.url)
        if len(calls) > 1:
            route.continue_()
            return
        told = {"type": "urn:edgeworthy:problem:busy", "status": 429, "detail": "Too many wait.", "hint": ""}
        route.fulfill(status=429, headers={"Retry-After": "1"}, json=told)

    page.route("**/v1/predict*", busy_once)
    drop(page, ("poppy.png", picture("red")))
    expect(page.get_by_text("The server is busy. It is asked again in 1 s.")).to_be_visible()
    expect(top(page, "colours")).to_have_text("red")
    assert len(calls) == 2


def test_a_server_that_is_gone_is_missed(visit):
    page = visit(refused="net::ERR_")
    page.route("**/v1/predict*", lambda route: route.abort())
    drop(page, ("poppy.png", picture("red")))
    expect(page.locator("#pictures-alert")).to_contain_text("The server cannot be reached.")
    page.unroute("**/v1/predict*")
    page.get_by_role("button", name="Try again").click()
    expect(top(page, "colours")).to_have_text("red")


def test_the_keyboard_is_enough(visit, tmp_path):
    page = visit()
    (tmp_path / "wide.png").write_bytes(parted())

    def tab_to(role, name, *, most=20):
        wanted = page.get_by_role(role, name=name)
        for _ in range(most):
            page.keyboard.press("Tab")
            if wanted.evaluate("(one) => one === document.activeElement"):
                return
        raise AssertionError(f"{name} cannot be reached")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    tab_to("button", "Choose pictures", most=1)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Enter")
    choosing.value.set_files(tmp_path / "wide.png")
    expect(top(page, "colours")).to_have_text("red")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # colours is not asked any more
    expect(column(page, "colours")).to_have_count(0)
    page.keyboard.press("Space")
    expect(top(page, "colours")).to_have_text("red")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(column(page, "colours").get_by_role("radio", name="crop")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(top(page, "colours")).to_have_text("green")
    tab_to("button", "Clear")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()


def test_the_camera_takes_pictures(visit):
    page = visit()
    page.get_by_role("button", name="Use the camera").click()
    shutter = page.get_by_role("button", name="Take the picture")
    shutter.click()
    expect(page.locator("#result-title")).to_have_text("camera-1.png")
    expect(top(page, "colours")).to_have_text("green")  # Chromium's own test picture
    page.evaluate("window.track = document.querySelector('video').srcObject.getTracks()[0]")
    page.keyboard.press("Escape")
    expect(page.locator("#camera-panel")).to_be_hidden()
    assert page.evaluate("window.track.readyState") == "ended"
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()
    assert page.locator("#video").evaluate("(video) => video.srcObject") is None


def test_without_a_secure_context_a_file_stands_in_for_the_camera(visit):
    page = visit(before="delete Navigator.prototype.mediaDevices")
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Use the camera").click()
    choosing.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": picture("red")})
    expect(top(page, "colours")).to_have_text("red")


def test_a_refused_camera_is_explained(visit):
    refusal = (
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }"
    )
    page = visit(before=refusal)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#pictures-alert")).to_contain_text("does not let this page use the camera")


def everything_open(page, models):
    """See the whole page in use."""
    drop(page, ("wide.png", parted()), ("notes.png", b"no picture"))
    expect(page.locator("#status")).to_have_text("1 of 2 pictures answered.")
    drop(page, ("logits.onnx", (models / "logits.onnx").read_bytes()), at="#upload-drop")
    for name in ("Card", "Rules"):
        about(page, "colours").get_by_text(name, exact=True).click()
    expect(about(page, "colours").locator(".verdict")).to_be_visible()
    expect(page.locator("#upload .finding")).not_to_have_count(0)
    page.locator("#upload").get_by_text("Card", exact=True).click()


def test_nothing_keeps_anybody_out(visit, models):
    """Neither of the themes nor a phone's width; and nothing is moved sideways or cut."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = visit(refused="422", color_scheme="light", reduced_motion="reduce")
    everything_open(page, models)
    for scheme, width in (("light", 1280), ("dark", 360)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        found = axe.Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] != "minor"]
        assert {one["id"]: [node["html"] for node in one["nodes"]] for one in grave} == {}
        assert page.evaluate("document.documentElement.scrollWidth") == width
        cut = page.locator("main *").evaluate_all(
            """(all, width) => all
                .filter((one) => one.clientWidth && one.getBoundingClientRect().right > width)
                .map((one) => one.outerHTML)""",
            width + 0.5,
        )
        assert cut == []
