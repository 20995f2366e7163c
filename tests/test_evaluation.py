"""Files on labelled pictures: figures that can be counted, frames that matter, and a page to look at."""

import html.parser
import json
import re

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from edgeworthy import Normalization, evaluate, export, machine, predict
from edgeworthy.errors import MissingExtraError, ModelFileError, OptionError
from edgeworthy.evidence import PREFIX
from edgeworthy.frames import Frame
from edgeworthy.labelled import Labelled
from edgeworthy.report.page import evaluation_page, matrix
from edgeworthy.results import Confusion
from edgeworthy.verdicts import PLATFORM
from tests.factory import classifier_file

COLOURS = ("red", "green", "blue")
CROP = Frame(mode="crop", height=12, width=16, resize=(12, 16), resize_rule="cover-round")


def seeing(model, frame=CROP):
    """The class is the strongest channel; the evidence says how the training framed pictures."""
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(3, dtype=np.float32) * 2, "weight"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "bias"))
    if frame:
        model.metadata_props.add(key=PREFIX + "frame", value=frame.to_json())


def colour_file(path, names=COLOURS, **details):
    return classifier_file(path, names=names, edit=seeing, **details)


@pytest.fixture
def file(tmp_path):
    return colour_file(tmp_path / "colours.onnx")


@pytest.fixture
def data(tmp_path):
    """Six plain pictures, one of them under a wrong name; one of a class that the model lacks."""
    place = tmp_path / "data"
    for label, colour, name in (
        ("red", "red", "1"), ("red", "#d02020", "2"), ("red", "#20d020", "3"),
        ("green", "#10ff10", "1"), ("blue", "blue", "1"), ("blue", "#3030ff", "2"),
        ("mauve", "#e0b0ff", "1"),
    ):  # fmt: skip
        (place / label).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(place / label / f"{name}.png")
    return place


@pytest.fixture
def framed_data(tmp_path):
    """Wide pictures whose middle is the label's colour and whose sides are another's."""
    place = tmp_path / "wide"
    for label, side in (("red", "lime"), ("green", "blue"), ("blue", "red")):
        (place / label).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (64, 12), side)
            middle = {"red": "red", "green": "lime", "blue": "blue"}[label]
            picture.paste(Image.new("RGB", (20, 12), middle), (22, 0))
            picture.save(place / label / f"{number}.png")
    return place


def test_figures_can_be_counted(file, data):
    evaluation = evaluate(file, data, frames=["stretch"])
    assert (evaluation.pictures, evaluation.labels, evaluation.unknown) == (6, "name", {"mauve": 1})
    assert evaluation.unreadable == evaluation.absent == evaluation.frames == evaluation.against == ()
    (run,) = evaluation.runs
    assert (run.frame.mode, run.frame_source) == ("stretch", "chosen")
    assert run.figures.top1.value == pytest.approx(5 / 6, abs=1e-6)
    assert run.figures.top5 is None
    assert {one.name: one.recall.value for one in run.classes} == {"red": 0.666667, "green": 1, "blue": 1}
    assert {one.name: one.precision for one in run.classes} == {"red": 1, "green": 0.5, "blue": 1}
    assert Confusion(truth="red", predicted="green", pictures=1) in run.confusions
    (mistake,) = run.mistakes
    assert (mistake.path, mistake.truth, mistake.predicted) == (str(data / "red" / "3.png"), "red", "green")
    shown = next(predict(file, [mistake.path], frame="stretch"))
    assert mistake.confidence == pytest.approx(shown.scores[0].probability, abs=1e-6)


def test_unless_asked_the_files_own_frame_meets_the_platforms(file, data):
    runs = evaluate(file, data).runs
    assert [(run.frame.mode, run.frame_source) for run in runs] == [
        ("crop", "the file's evidence"), (PLATFORM, "the platform's default"),
    ]  # fmt: skip
    assert runs[0].frame == CROP


def test_the_frame_report_says_what_to_choose(file, framed_data):
    evaluation = evaluate(file, framed_data, frames=["crop", "letterbox", "stretch"])
    (report,) = evaluation.frames
    assert report.top1 == {"crop": 1, "letterbox": 0, "stretch": 0}
    assert (report.platform, report.best, report.flipped) == ("letterbox", "crop", 12)
    assert report.p_value == pytest.approx(2 / 2**12, abs=1e-6)
    assert report.advice == (
        "Set the platform to crop: 100.0% top-1 in place of 0.0% with letterbox, its default (p = 0.00049)."
    )
    first = report.flips[0]
    assert (first.truth, first.predicted) == (
        "blue", {"crop": "blue", "letterbox": "red", "stretch": "red"},
    )  # fmt: skip


def test_chance_is_no_reason_to_change_the_platform(file, framed_data):
    """One picture of which crop alone recognises what is in it."""
    one = [Labelled(str(framed_data / "red" / "0.png"), "red")]
    (report,) = evaluate(file, one).frames
    assert report.top1 == {"crop": 1, "letterbox": 0}
    assert (report.best, report.p_value) == ("letterbox", 1)
    assert report.advice.startswith("Leave the platform's setting at letterbox: 0.0% top-1, and none")


def test_files_are_compared_by_the_names_of_their_classes(tmp_path, file, data):
    """In one pass, each as its own classes are numbered: the other takes red for blue."""
    other = colour_file(tmp_path / "other.onnx", names=("blue", "green", "red"))
    seen = []
    evaluation = evaluate([file, other], data, frames=["stretch"], on_picture=lambda: seen.append(1))
    first, second = evaluation.runs
    assert len(seen) == 7
    assert first.figures.top1.value == pytest.approx(5 / 6, abs=1e-6)
    assert second.figures.top1.value == pytest.approx(1 / 6, abs=1e-6)
    assert Confusion(truth="red", predicted="blue", pictures=2) in second.confusions


def test_a_picture_that_cannot_be_read_is_told_and_counts_nowhere(file, data):
    (data / "blue" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    evaluation = evaluate(file, data)
    (bad,) = evaluation.unreadable
    assert bad.path.endswith("9.png")
    assert evaluation.pictures == 6


def test_side_by_side_or_not_it_is_the_same(file, data):
    examples = [Labelled(str(path), path.parent.name) for path in sorted(data.rglob("*.png"))] * 9
    assert evaluate(file, examples, jobs=1) == evaluate(file, examples, jobs=machine.cores())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_channels_are_the_files(tmp_path, channels, mode):
    names = ("dark", "bright")
    file = classifier_file(tmp_path / "m.onnx", names=names, channels=channels, normalization=None)
    place = tmp_path / "data"
    for name, value in (("dark", 10), ("bright", 240)):
        (place / name).mkdir(parents=True)
        Image.new(mode, (20, 20), (value,) * channels if channels == 3 else value).save(
            place / name / "1.png"
        )
    given = Normalization(mean=(127.5,) * channels, std=(127.5,) * channels)
    expected = [
        one.scores[0].name
        for one in predict(file, sorted(place.rglob("*.png")), normalization=given, frame="stretch")
    ]
    run = evaluate(file, place, frames=["stretch"], normalization=given).runs[0]
    assert sorted(one.predicted for one in run.confusions for _ in range(one.pictures)) == sorted(expected)


def test_what_cannot_be_evaluated(tmp_path, file, data):
    with pytest.raises(OptionError, match="No file to evaluate"):
        evaluate([], data)
    with pytest.raises(ModelFileError, match="is not there"):
        evaluate(tmp_path / "absent.onnx", data)
    with pytest.raises(
        OptionError, match=r"None of the 1 pictures could be evaluated: .*gone\.png is not there"
    ):
        evaluate(file, [Labelled(str(tmp_path / "gone.png"), "red")])
    with pytest.raises(OptionError, match="knows none of the 1 labels: 'mauve'"):
        evaluate(file, [Labelled(str(data / "mauve" / "1.png"), "mauve")])


def test_logits_have_a_top1_and_a_word_on_the_rest(tmp_path, data, run):
    file = colour_file(tmp_path / "logits.onnx", activation="")
    evaluation = evaluate(file, data, frames=["stretch"])
    assert evaluation.runs[0].figures.top1.value == pytest.approx(5 / 6, abs=1e-6)
    assert not evaluation.runs[0].probabilities
    _, out, _ = run("evaluate", file, "--data", data)
    assert f"note: the scores of {file} are no probabilities in 0..1" in out


def test_without_the_library_it_says_what_to_install(file, data, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[evaluate\]"'):
        evaluate(file, data)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A model in a file of its own, and the ONNX file made from it."""
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Colours(torch.nn.Module):\n"
        "    def __init__(self, strength):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(strength * torch.eye(3))\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3)) @ self.weight\n"
        "def build():\n    return Colours(2.0)\n"
        "def other():\n    return Colours(-2.0)\n"
        "def weak():\n    return Colours(1.0)\n"
        "def more():\n    model = Colours(1.0)\n"
        "    model.weight = torch.nn.Parameter(torch.ones(3, 4))\n    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    export(
        "net.py:build", "net.onnx", classes=COLOURS, mean=[0.5] * 3, std=[0.25] * 3, input_size=(3, 12, 16)
    )
    return tmp_path / "net.onnx"


def test_against_the_trained_model_nothing_differs(trained, data):
    evaluation = evaluate(trained, data, frames=["letterbox", "stretch"], against="net.py:build")
    assert [(run.file, run.frame.mode) for run in evaluation.runs] == [
        (str(trained), "letterbox"), (str(trained), "stretch"),
        ("net.py:build", "letterbox"), ("net.py:build", "stretch"),
    ]  # fmt: skip
    for one in evaluation.against:
        assert (one.pictures, one.disagreements) == (6, ())
        assert one.max_abs_diff < 1e-5
    assert len(evaluation.against) == 2
    assert len(evaluation.frames) == 1


def test_against_another_model_every_disagreement_is_shown(trained, data):
    (one,) = evaluate(trained, data, frames=["stretch"], against="net.py:other").against
    assert len(one.disagreements) == 6
    first = one.disagreements[0]
    assert (first.truth, first.file_says) == ("blue", "blue")
    assert first.model_says != "blue"
    (weak,) = evaluate(trained, data, frames=["stretch"], against="net.py:weak").against
    assert weak.disagreements == ()
    assert weak.max_abs_diff > 0.01


def test_against_a_model_of_other_classes(trained, data):
    with pytest.raises(OptionError, match="has 4 classes, the file 3"):
        evaluate(trained, data, against="net.py:more")


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in {"src", "href"}]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_holds_everything_and_loads_nothing(file, framed_data):
    evaluation = evaluate(file, framed_data)
    page = _Page()
    page.feed(evaluation_page(evaluation))
    assert page.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    text = " ".join("".join(page.text).split())
    for expected in ("12 pictures of", "100.0 %", "Set the platform to crop", "Reliability", "Confusion"):
        assert expected in text


def test_names_of_anybody_stay_text_on_the_page(tmp_path):
    """Markup in a class name and in a file's name, and what would steer a terminal."""
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    file = colour_file(tmp_path / "<b>m.onnx", names=(evil, "green", "blue\u202e"))
    place = tmp_path / "data"
    (place / "green").mkdir(parents=True)
    Image.new("RGB", (9, 9), "red").save(place / "green" / "<i>&quot;1.png")
    evaluation = evaluate(file, place, frames=["stretch"])
    assert evaluation.runs[0].mistakes[0].predicted == evil
    text = evaluation_page(evaluation)
    page = _Page()
    page.feed(text)
    assert not {"script", "b", "i"} & set(page.tags) - {"b"}
    assert all(link.startswith("data:") for link in page.links)
    assert evil in "".join(page.text)
    assert "\u202e" not in text


def test_a_picture_that_is_gone_by_then_leaves_the_page_whole(file, data):
    evaluation = evaluate(file, data)
    (data / "red" / "3.png").unlink()
    assert 'src=""' in evaluation_page(evaluation)


def test_the_matrix_shows_what_is_confused_most():
    many = [Confusion(truth=f"c{i}", predicted=f"c{i}", pictures=5) for i in range(40)]
    many += [
        Confusion(truth="c7", predicted="c3", pictures=3),
        Confusion(truth="c9", predicted="c1", pictures=2),
    ]
    names, rows = matrix(many, limit=2)
    assert names == ["c3", "c7"]
    assert [[cell.pictures for cell in row] for row in rows] == [[5, 0], [3, 5]]
    assert rows[1][0].share == pytest.approx(3 / 8)
    assert matrix(many[:3], limit=5)[0] == ["c0", "c1", "c2"]


def test_the_command_line(run, tmp_path, file, framed_data):
    words = ("evaluate", file, "--data", framed_data)
    code, out, err = run(*words, "--frame", "crop", "letterbox", "-o", tmp_path / "r.html")
    assert (code, err.strip()) == (0, f"{tmp_path / 'r.html'}: written")
    assert re.search(r"colours.onnx +crop +100.0 %", out)
    assert "Set the platform to crop" in out
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    code, _, err = run(*words, "-o", tmp_path / "r.html")
    assert (code, "exists" in err) == (2, True)
    code, out, _ = run(*words, "--json", "--min-top1", "0.5", "--frame", "crop")
    assert code == 0
    assert json.loads(out)["runs"][0]["figures"]["top1"]["value"] == 1
    code, _, err = run(*words, "--min-top1", "0.5")
    assert (code, err.strip()) == (1, f"{file}, letterbox: top-1 0.0000 is below 0.5.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--min-top1", "90"), "Did you mean 0.9?"),
        (("-o", "report.pdf"), "Name it report.html"),
        (("--checkpoint", "a.pth"), "go with --against"),
        (("--frame", "tile"), "'tile' is not one of"),
        (("--mean", "0"), "--mean and --std go together"),
        (("--label-column", "x"), "no column"),
    ],
)
def test_calls_that_cannot_be_carried_out(run, tmp_path, file, words, message):
    (tmp_path / "t.csv").write_text("path,label\n1.png,red\n")
    code, _, err = run("evaluate", file, "--data", tmp_path / "t.csv", *words)
    assert (code, message in err) == (2, True), err
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.parametrize("names", [True, False])
def test_a_parquet_file_may_hold_the_pictures(tmp_path, run, file, data, names):
    """As Hugging Face's datasets do, whose ids have names; without those, ids are the model's."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    order = ["blue", "green", "red"] if names else list(COLOURS)
    paths = [path for path in sorted(data.rglob("*.png")) if path.parent.name in order]
    table = pa.table(
        {
            "image": [{"bytes": path.read_bytes(), "path": None} for path in paths],
            "label": [order.index(path.parent.name) for path in paths],
        }
    )
    features = {"info": {"features": {"label": {"names": order, "_type": "ClassLabel"}}}}
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "test.parquet", row_group_size=2)
    evaluation = evaluate(file, tmp_path / "test.parquet", frames=["stretch"])
    expected = evaluate(file, data, frames=["stretch"]).runs[0]
    assert evaluation.labels == ("name" if names else "index")
    assert evaluation.runs[0].figures == expected.figures
    (mistake,) = evaluation.runs[0].mistakes
    assert mistake.path == f"{tmp_path}/test.parquet:5"
    code, _, _ = run("evaluate", file, "--data", tmp_path / "test.parquet", "-o", tmp_path / "r.html")
    assert code == 0
    assert 'src=""' not in (tmp_path / "r.html").read_text("utf-8")
    code, _, err = run("evaluate", file, "--data", tmp_path / "test.parquet", "--engine", "ray")
    assert (code, "is in no file of its own" in err) == (2, True)


def test_a_gate_is_not_passed_by_what_was_not_measured(run, file, data):
    """The picture of a class that the model lacks counts nowhere, and so does the gate."""
    assert run("evaluate", file, "--data", data, "--frame", "stretch")[0] == 0
    code, _, err = run("evaluate", file, "--data", data, "--frame", "stretch", "--min-top1", "0.5")
    assert (code, "1 pictures have a label that no class stands for" in err) == (1, True)


def test_files_of_one_name_are_told_apart(tmp_path, data, run, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        colour_file(tmp_path / folder / "m.onnx")
    monkeypatch.chdir(tmp_path)
    _, out, _ = run("evaluate", "a/m.onnx", "b/m.onnx", "--data", data)
    assert re.search(r"a/m\.onnx +crop", out)
    assert re.search(r"b/m\.onnx +letterbox", out)


def test_files_are_measured_on_the_same_pictures(tmp_path, file, data):
    """What one of them does not know counts for none, and is told."""
    fewer = colour_file(tmp_path / "fewer.onnx", names=("red", "green", "violet"))
    evaluation = evaluate([file, fewer], data, frames=["stretch"])
    assert [run.figures.pictures for run in evaluation.runs] == [4, 4]
    assert evaluation.unknown == {"blue": 2, "mauve": 1}
    other = colour_file(tmp_path / "other.onnx", names=("mauve", "violet", "pink"))
    with pytest.raises(OptionError, match="know no label in common"):
        evaluate([file, other], data)
    with pytest.raises(OptionError, match="Unknown engine 'spark'"):
        evaluate(file, data, engine="spark")
