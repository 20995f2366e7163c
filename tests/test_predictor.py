"""Predictions come from the file alone, say how the picture was framed, and survive bad pictures."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgeworthy import errors, filemodel, machine, predictor, runtime
from edgeworthy.contract import Normalization
from edgeworthy.evidence import PREFIX
from edgeworthy.frames import Frame
from edgeworthy.pictures import Picture, list_pictures
from edgeworthy.predictor import Predictor, predict, ranked
from edgeworthy.results import Prediction, Unreadable
from edgeworthy.runtime import Session
from tests.factory import classifier_file


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for position, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 30), colour).save(folder / f"{position}.png")
    (folder / "1b.png").write_text("no picture")
    return sorted(folder.iterdir())


def test_results_come_in_order_and_a_bad_picture_stops_nothing(tmp_path, pictures):
    results = list(predict(classifier_file(tmp_path / "m.onnx"), pictures * 5, top_k=2))
    assert [result.path for result in results] == [str(path) for path in pictures * 5]
    kinds = [type(result) for result in results[:4]]
    assert kinds == [Prediction, Prediction, Unreadable, Prediction]
    first = results[0]
    assert [score.name for score in first.scores] == [s.name for s in results[4].scores]
    assert first.scores[0].probability >= first.scores[1].probability
    assert len(first.scores) == 2


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_numbers_are_the_models(tmp_path, pictures, layout):
    import onnx
    from onnx import numpy_helper

    file = classifier_file(tmp_path / "m.onnx", layout=layout)
    weight, bias = map(numpy_helper.to_array, onnx.load(file).graph.initializer)
    red = (np.float32([255, 0, 0]) - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    logits = red @ weight + bias
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    result = next(predict(file, pictures[:1], frame="stretch"))
    for score in result.scores:
        assert score.probability == pytest.approx(expected[score.class_id], abs=1e-5)


def test_the_frame_is_the_evidences_or_the_platforms_or_chosen(tmp_path):
    frame = Frame(mode="crop", height=12, width=16, resize=14, resize_rule="shorter-truncate")

    def record(model):
        model.metadata_props.add(key=PREFIX + "frame", value=frame.to_json())

    plain = classifier_file(tmp_path / "plain.onnx")
    recorded = classifier_file(tmp_path / "recorded.onnx", edit=record)
    assert Predictor(plain).frame == Frame.letterbox(12, 16)
    assert Predictor(plain).frame_source == "the platform's default"
    assert (Predictor(recorded).frame, Predictor(recorded).frame_source) == (frame, "the file's evidence")
    assert Predictor(recorded, frame="crop").frame == frame
    assert Predictor(recorded, frame="stretch").frame == Frame.stretch(12, 16)
    assert Predictor(plain, frame="stretch").frame_source == "chosen"


def test_one_channel(tmp_path, pictures):
    file = classifier_file(tmp_path / "m.onnx", channels=1, normalization=Normalization(mean=(1,), std=(2,)))
    assert isinstance(next(predict(file, pictures)), Prediction)


def test_one_picture_needs_no_list(tmp_path, pictures):
    file = classifier_file(tmp_path / "m.onnx")
    assert len(list(predict(file, pictures[0]))) == len(list(predict(file, str(pictures[0])))) == 1


def test_what_the_file_does_not_say_is_asked_for(tmp_path):
    silent = classifier_file(tmp_path / "m.onnx", normalization=None)
    with pytest.raises(errors.OptionError, match="--mean"):
        Predictor(silent)
    Predictor(silent, normalization=Normalization(mean=(0, 0, 0), std=(1, 1, 1)))
    with pytest.raises(errors.OptionError, match="--top-k"):
        Predictor(silent, top_k=0)
    with pytest.raises(errors.ModelFileError, match="not there"):
        Predictor(tmp_path / "absent.onnx")


def test_neither_torch_nor_onnx_is_imported(tmp_path, pictures):
    file = classifier_file(tmp_path / "m.onnx")
    code = (
        "import sys; from edgeworthy.cli import main\n"
        f"sys.argv = ['edgeworthy', 'predict', {str(file)!r}, {str(pictures[0])!r}]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "print(sorted({'torch', 'onnx', 'timm', 'onnxsim'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_more_threads_than_cores_are_refused(tmp_path):
    """Ten thousand spinning threads look like a program that hangs."""
    file = classifier_file(tmp_path / "m.onnx")
    with pytest.raises(errors.OptionError, match="10000 threads"):
        Predictor(file, threads=10_000)
    with pytest.raises(errors.OptionError, match="jobs=10000 with threads=0"):
        Predictor(file, jobs=10_000)


@pytest.mark.parametrize("asked", [(9, 0), (8, 2), (3, 3), (-1, 0), (0, -1)])
def test_no_more_is_shared_out_than_there_is(monkeypatch, asked):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    with pytest.raises(errors.OptionError, match=f"jobs={asked[0]} with threads={asked[1]} .* 8 cores"):
        filemodel.shared_out(*asked)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((0, 0), (8, 1)),
        ((2, 0), (2, 4)),
        ((0, 4), (2, 4)),
        ((0, 3), (2, 3)),
        ((4, 2), (4, 2)),
        ((3, 0), (3, 2)),
    ],
)
def test_cores_are_shared_out(monkeypatch, asked, expected):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert filemodel.shared_out(*asked) == expected


@pytest.mark.parametrize(
    ("pictures", "threads", "jobs"), [(1, 0, 1), (3, 0, 3), (99, 0, 8), (99, 4, 2), (0, 0, 1)]
)
def test_a_few_pictures_leave_cores_for_each(monkeypatch, pictures, threads, jobs):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert predictor.at_a_time(pictures, threads) == jobs


def test_pictures_side_by_side_are_those_one_after_another(tmp_path, pictures):
    """In order, and the same to the bit."""
    file = classifier_file(tmp_path / "m.onnx")
    alone = list(predict(file, pictures * 9, jobs=1, threads=1))
    beside = list(Predictor(file, jobs=machine.cores(), threads=1).predict(pictures * 9))
    assert beside == alone


def test_a_stream_is_read_no_further_than_needed(tmp_path, pictures):
    taken = []
    stream = (taken.append(path) or path for path in pictures * 100)
    results = Predictor(classifier_file(tmp_path / "m.onnx"), jobs=1).predict(stream)
    next(results)
    assert len(taken) <= 8
    results.close()
    assert len(taken) <= 8


def test_a_containers_quota_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(machine, "_QUOTA", quota)
    assert machine.cores() == 8
    for text, expected in (
        ("max 100000", 8),
        ("250000 100000", 2),
        ("10000 100000", 1),
        ("x", 8),
        ("1 0", 8),
    ):
        quota.write_text(text)
        assert machine.cores() == expected


def test_threads_that_have_done_enough_get_sessions_of_their_own(tmp_path, monkeypatch):
    """With the same scores; not where the file is large, or another by now."""
    monkeypatch.setattr(runtime, "_OWN_AFTER", 2)
    path = classifier_file(tmp_path / "m.onnx")
    shared = Session(path)
    batch = np.full((1, 3, 12, 16), 0.5, np.float32)
    expected = shared.scores(batch)
    loaded = []
    monkeypatch.setattr(runtime, "Session", lambda *a, **k: loaded.append(a) or Session(*a, **k))
    beside = runtime.SideBySide(shared, jobs=2, threads=1)
    assert all((beside.scores(batch) == expected).all() for _ in range(9))
    assert len(loaded) == 1
    monkeypatch.setattr(runtime, "_OWN_BYTES", 10)
    large = runtime.SideBySide(shared, jobs=2, threads=1)
    monkeypatch.setattr(runtime, "_OWN_BYTES", 2**30)
    changed = runtime.SideBySide(shared, jobs=2, threads=1)
    path.write_bytes(b"another")
    for sessions in (large, changed):
        assert all((sessions.scores(batch) == expected).all() for _ in range(9))
    assert len(loaded) == 1


def test_pictures_may_be_bytes_or_decoded_and_listed(tmp_path, pictures):
    file = classifier_file(tmp_path / "m.onnx")
    expected = list(predict(file, pictures))
    given = [
        pictures[0],
        Picture(name="bytes", source=pictures[1].read_bytes()),
        str(pictures[2]),
        Picture(name="decoded", source=Image.open(pictures[3])),
    ]
    results = list(predict(file, given))
    assert [result.path for result in results] == [str(pictures[0]), "bytes", str(pictures[2]), "decoded"]
    assert results[1].scores == expected[1].scores
    assert results[3].scores == expected[3].scores
    assert list(predict(file, list_pictures([pictures[0].parent]))) == expected


def test_a_provider_that_is_missing_says_which_package_brings_it(tmp_path):
    file = classifier_file(tmp_path / "m.onnx")
    with pytest.raises(errors.OptionError, match=r"no CUDAExecutionProvider.*pip install onnxruntime-gpu"):
        Predictor(file, provider="cuda")
    with pytest.raises(errors.OptionError, match=r"pip install onnxruntime-openvino"):
        Predictor(file, provider="openvino")
    with pytest.raises(errors.OptionError, match="Unknown provider 'tpu'"):
        Predictor(file, provider="tpu")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_no_cpu(tmp_path, monkeypatch):
    """ONNX Runtime would go on with the CPU, and warn in a log that nobody reads."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(errors.OptionError, match="cannot start it on this machine"):
        Predictor(classifier_file(tmp_path / "m.onnx"), provider="cuda")


def test_the_best_classes_are_those_of_a_full_stable_sort() -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        scores = rng.integers(0, 5, rng.integers(1, 30)).astype(np.float32) / 8
        scores[rng.random(scores.size) < 0.1] = np.nan
        top_k = int(rng.integers(1, 12))
        order = sorted(range(scores.size), key=lambda i: np.inf if np.isnan(scores[i]) else -scores[i])
        best = ranked(scores, [str(i) for i in range(scores.size)], top_k=top_k)
        assert [one.class_id for one in best] == order[:top_k]
