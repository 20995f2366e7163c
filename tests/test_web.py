"""The server: what it answers, what it refuses, and how it stops."""

import base64
import contextlib
import http.client
import io
import json
import re
import socket
import struct
import sys
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

import edgeworthy
from edgeworthy.decoding import Decoding
from edgeworthy.errors import ModelFileError, OptionError
from edgeworthy.filemodel import FileModel
from edgeworthy.images import framed
from edgeworthy.pictures import Picture
from edgeworthy.predictor import Predictor
from edgeworthy.web import bodies, classifiers, uploads
from edgeworthy.web.places import without_places
from edgeworthy.web.problems import ProblemError
from edgeworthy.web.server import _let_nobody_in, listen
from edgeworthy.web.settings import Settings
from tests.factory import classifier_file
from tests.serving import form, picture, serving

HOSTILE = '<script>alert("x")</script>'
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place-of-models")


@pytest.fixture(scope="module")
def files(place):
    animals = classifier_file(place / "animals.onnx")
    odd = classifier_file(place / "odd.onnx", names=("plain", HOSTILE), height=20, width=10, seed=4)
    return animals, odd


@pytest.fixture(scope="module")
def served(files):
    with serving(*files, allow_upload=True) as running:
        yield running


def slug(reply):
    assert reply.headers["content-type"] == PROBLEM
    assert reply.json["status"] == reply.status
    assert reply.json["error"] == f"{reply.json['detail']} {reply.json['hint']}".rstrip()
    return reply.json["type"].removeprefix("urn:edgeworthy:problem:")


# -- predictions


def test_a_picture_gets_the_scores_that_the_command_line_gives(served, files, tmp_path):
    shot = tmp_path / "shot.png"
    shot.write_bytes(picture())
    reply = served.call("/v1/predict", picture(), query=[("model", "animals"), ("top_k", 9)])
    (answer,) = reply.json["pictures"][0]["answers"]
    (expected,) = edgeworthy.predict(files[0], shot)
    assert reply.status == 200
    assert [score["name"] for score in answer["scores"]] == [score.name for score in expected.scores]
    assert [score["probability"] for score in answer["scores"]] == [s.probability for s in expected.scores]
    assert (answer["frame"], answer["chosen_by"]) == ("letterbox", "the platform's default")
    assert reply.json["pictures"][0]["width_px"] == 40
    assert reply.json["pictures"][0]["height_px"] == 30


def test_a_large_photograph_keeps_its_size_however_it_is_decoded(files):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # it lies, and is turned by a quarter
    Image.new("RGB", (800, 600), (90, 120, 30)).save(stream, "JPEG", exif=exif)
    for fast in (False, True):
        with serving(files[0], fast_decode=fast) as running:
            told = running.call("/v1/predict", stream.getvalue()).json["pictures"][0]
        assert (told["width_px"], told["height_px"]) == (600, 800)


def test_models_and_frames_are_answered_in_the_order_asked_for(served, files):
    query = [
        ("model", "odd"),
        ("model", "animals"),
        ("frame", "stretch"),
        ("frame", "crop"),
        ("frame", "crop"),
    ]
    reply = served.call("/v1/predict", picture(), query=query)
    answers = reply.json["pictures"][0]["answers"]
    assert [(answer["model"], answer["frame"]) for answer in answers] == [
        ("odd", "stretch"),
        ("odd", "crop"),
        ("animals", "stretch"),
        ("animals", "crop"),
    ]
    for answer, file in zip(answers, [files[1], files[1], files[0], files[0]], strict=True):
        predictor = Predictor(file, frame=answer["frame"])
        (expected,) = predictor.predict([Picture(name="shot", source=picture())])
        assert answer["scores"][0]["probability"] == expected.scores[0].probability


def test_the_framed_picture_is_what_the_model_gets(served, files):
    query = [("model", "odd"), ("frame", "letterbox"), ("images", "true")]
    reply = served.call("/v1/predict", picture(), query=query)
    address = reply.json["pictures"][0]["answers"][0]["image"]
    kind, _, content = address.partition(",")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    expected = framed(Picture(name="shot", source=picture()), Predictor(files[1]).frame)
    assert kind == "data:image/png;base64"
    assert np.array_equal(seen, expected)


def test_threshold_and_top_k_leave_classes_out(served):
    both = served.call("/v1/predict", picture(), query=[("model", "animals"), ("top_k", 2)])
    some = served.call("/v1/predict", picture(), query=[("model", "animals"), ("threshold", 0.999)])
    assert len(both.json["pictures"][0]["answers"][0]["scores"]) == 2
    assert some.json["pictures"][0]["answers"][0]["scores"] == []


def test_a_form_with_several_pictures_says_which_cannot_be_read(served):
    body, headers = form(("a.png", picture()), ("b.png", b"no picture"), ("c.png", picture(60, 20)))
    reply = served.call("/v1/predict", body, headers=headers)
    first, second, third = reply.json["pictures"]
    assert reply.status == 200
    assert [first["name"], second["name"], third["name"]] == ["a.png", "b.png", "c.png"]
    assert second["problem"]["detail"] == "b.png is no picture that can be read."
    assert (third["width_px"], third["height_px"]) == (60, 20)
    assert len(first["answers"]) == 2


def test_letters_that_browsers_escape_in_names_come_back(served):
    body, headers = form(("a %22cat%22.png", picture()))
    reply = served.call("/v1/predict", body, headers=headers)
    assert reply.json["pictures"][0]["name"] == 'a "cat".png'


def test_a_single_picture_that_cannot_be_read_is_the_callers_problem(served):
    body, headers = form(("b.png", b"no picture"))
    for reply in (
        served.call("/v1/predict", body, headers=headers),
        served.call("/v1/predict", picture()[:60]),
        served.call("/v1/predict", b""),
    ):
        assert (reply.status, slug(reply)) == (422, "unreadable-picture")


def test_pictures_have_a_limit_in_pixels_before_they_are_decoded(files):
    with serving(files[0], pixels=1000) as running:
        fits = running.call("/v1/predict", picture(40, 25))
        over = running.call("/v1/predict", picture(41, 25))
    assert fits.status == 200
    assert (over.status, slug(over)) == (422, "unreadable-picture")
    assert "41x25 px, the limit is 1000 pixels" in over.json["detail"]


def test_fifty_thousand_pixels_a_side_are_refused_by_their_head_alone(served):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    reply = served.call("/v1/predict", bomb)
    assert (reply.status, slug(reply)) == (422, "unreadable-picture")
    assert "2500000000 pixels" in reply.json["detail"]


def test_unknown_models_and_frames_are_named(served):
    model = served.call("/v1/predict", picture(), query=[("model", "plants")])
    frame = served.call("/v1/predict", picture(), query=[("frame", "round")])
    assert (model.status, slug(model)) == (404, "no-such-model")
    assert model.json["hint"] == "There are: animals, odd."
    assert (frame.status, slug(frame)) == (422, "invalid-request")
    assert "query.frame.0" in frame.json["detail"]


def test_a_model_that_fails_is_named_without_its_place(served, files, monkeypatch):
    def scores(self, values):
        raise ModelFileError(
            f"Running {self.path} failed: no room in {self.path.parent}/cache", hint="See: check"
        )

    monkeypatch.setattr(FileModel, "scores", scores)
    values = {"inputs": [as_input(tensor(served))]}
    for reply in (served.call("/v1/predict", picture()), infer(served, values)):
        assert (reply.status, slug(reply)) == (422, "model-failed")
        assert reply.json["detail"] == "Running animals failed: no room in …"


def test_a_form_that_is_cut_off_is_refused_whole(served):
    body, headers = form(("a.png", picture()), ("b.png", picture()))
    reply = served.call("/v1/predict", body[:-90], headers=headers)
    assert (reply.status, slug(reply)) == (400, "bad-body")
    assert "cut off" in reply.json["detail"]


def test_a_form_without_files_or_without_sense_is_refused(served):
    empty, headers = form()
    none = served.call("/v1/predict", empty, headers=headers)
    torn = served.call("/v1/predict", b"--nonsense", headers={"Content-Type": "multipart/form-data"})
    many, _ = form(*[(f"{index}.png", b"x") for index in range(65)])
    over = served.call("/v1/predict", many, headers=headers)
    assert [(reply.status, slug(reply)) for reply in (none, torn, over)] == [(400, "bad-body")] * 3
    assert "64" in over.json["detail"]


def test_scores_that_are_no_numbers_are_null(place):
    def poison(model):
        weight = model.graph.initializer[0]
        weight.raw_data = np.full(9, np.nan, np.float32).tobytes()

    with serving(classifier_file(place / "nan.onnx", edit=poison)) as running:
        reply = running.call("/v1/predict", picture())
    assert reply.json["pictures"][0]["answers"][0]["scores"][0]["probability"] is None


# -- models, cards, rules


def test_two_files_of_one_name_get_different_ones(files, tmp_path):
    other = tmp_path / "animals.onnx"
    other.write_bytes(files[1].read_bytes())
    with serving(files[0], other) as running:
        models = running.call("/v1/models").json["models"]
    assert [(model["name"], model["classes"]) for model in models] == [("animals", 3), ("animals-2", 2)]


def test_the_card_says_what_inspect_says(served, files):
    card = served.call("/v1/models/odd/card").json
    facts = edgeworthy.inspect(files[1])
    assert card["class_names"] == ["plain", HOSTILE]
    assert card["sha256"] == facts.sha256
    assert card["frame"] == {
        "mode": "letterbox",
        "description": "letterbox to 20x10, bilinear",
        "source": "the platform's default",
    }
    assert card["normalization"]["mean"] == pytest.approx(facts.normalization.mean)
    assert card["inputs"] == [{"name": "image-", "dtype": "float32", "shape": [1, 3, 20, 10]}]


def test_the_check_says_what_check_says_and_how_to_mend_it(place):
    path = classifier_file(place / "logits.onnx", activation="")
    with serving(path) as running:
        found = running.call("/v1/models/logits/check").json
    report = edgeworthy.check(path)
    assert not found["conforms"]
    assert [finding["code"] for finding in found["findings"]] == [one.code for one in report.findings]
    assert found["passed"] == list(report.passed)
    assert found["repair"] == "edgeworthy repair logits.onnx -o MENDED.onnx"


def test_a_file_that_changed_after_it_was_loaded_is_not_described(place):
    path = classifier_file(place / "changing.onnx")
    with serving(path) as running:
        classifier_file(path, names=("other", "names"))
        for what in ("card", "check"):
            reply = running.call(f"/v1/models/changing/{what}")
            assert (reply.status, slug(reply)) == (409, "model-changed")
        assert running.call("/v1/predict", picture()).status == 200


def test_no_answer_names_a_place_of_this_machine(served, place):
    broken = classifier_file(place / "theirs.onnx").read_bytes()[:-40]
    replies = [
        served.call("/v1/models"),
        served.call("/v1/models/animals/card"),
        served.call("/v1/models/animals/check"),
        served.call("/v1/predict", picture()),
        served.call("/v1/predict", b"no picture"),
        served.call("/v1/uploads", broken),
        served.call("/v1/uploads", classifier_file(place / "theirs.onnx").read_bytes()),
        served.call("/v2/models/animals"),
        served.call("/v2/models/animals/infer", b"{}"),
        served.call("/openapi.json"),
        served.call("/metrics"),
    ]
    for reply in replies:
        assert place.name.encode() not in reply.body
        assert not re.search(rb"/(tmp|home|root|usr|work)/", reply.body), reply.body


# -- the Open Inference Protocol


def tensor(served, name="animals"):
    shape = served.call(f"/v2/models/{name}").json["inputs"][0]["shape"]
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def infer(served, request, tail=b"", headers=None, name="animals"):
    body = json.dumps(request).encode()
    told = {"Inference-Header-Content-Length": str(len(body))} if tail else {}
    return served.call(f"/v2/models/{name}/infer", body + tail, headers=told | (headers or {}))


def as_input(values, **more):
    facts = {"name": "image-", "datatype": "FP32", "shape": list(values.shape)}
    return facts | (more or {"data": values.ravel().tolist()})


def expected_scores(served, values):
    return served.service.classifiers["animals"].model.scores(values)


def test_a_tensor_gets_the_models_scores_as_json(served):
    values = tensor(served)
    reply = infer(served, {"id": "7", "inputs": [as_input(values)]})
    (output,) = reply.json["outputs"]
    assert (reply.json["id"], reply.json["model_name"], reply.json["model_version"]) == ("7", "animals", "1")
    assert output["shape"] == [1, 3]
    assert output["name"].startswith("scores-0:cat")
    assert np.array_equal(np.float32(output["data"]), expected_scores(served, values))
    nested = infer(served, {"inputs": [as_input(values, data=values.tolist())]})
    assert nested.json["outputs"] == reply.json["outputs"]


def test_a_tensor_behind_the_json_part_gets_scores_behind_it(served):
    values = tensor(served)
    asked = as_input(values, parameters={"binary_data_size": values.nbytes})
    name = served.call("/v2/models/animals").json["outputs"][0]["name"]
    outputs = [{"name": name, "parameters": {"binary_data": True}}]
    reply = infer(served, {"inputs": [asked], "outputs": outputs}, values.tobytes())
    length = int(reply.headers["inference-header-content-length"])
    head, tail = json.loads(reply.body[:length]), reply.body[length:]
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert np.array_equal(np.frombuffer(tail, "<f4"), expected_scores(served, values))
    plain = infer(served, {"inputs": [asked]}, values.tobytes())
    assert np.array_equal(np.float32(plain.json["outputs"][0]["data"]), expected_scores(served, values))


def test_a_tensor_alone_gets_its_scores(served):
    values = tensor(served)
    headers = {"Inference-Header-Content-Length": "0"}
    reply = served.call("/v2/models/animals/infer", values.tobytes(), headers=headers)
    tail = reply.body[int(reply.headers["inference-header-content-length"]) :]
    assert np.array_equal(np.frombuffer(tail, "<f4"), expected_scores(served, values))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "picture"}, "The inputs are ['picture']"),
        ({"datatype": "UINT8"}, "The tensor is UINT8"),
        ({"shape": [1, 3, 12, 17]}, "expected is FP32 [1, 3, 12, 16]"),
        ({"data": [1.0]}, "The data have the shape [1]"),
        ({"data": [[1.0, 2.0], [3.0]]}, "no numbers, or rows of unequal length"),
        ({"data": ["a"] * 576}, "no numbers"),
        ({"data": None}, "binary_data_size is None"),
        ({"data": None, "parameters": {"binary_data_size": 8}}, "expected are 2304"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(served, change, told):
    reply = infer(served, {"inputs": [as_input(tensor(served)) | change]})
    assert (reply.status, slug(reply)) == (400, "bad-tensor")
    assert told in reply.json["error"]


def test_mistakes_without_end_are_told_once_and_cost_nothing(served):
    """A list of half a million mistakes took a gigabyte to tell before."""
    flood = b"[" + b"0," * 30_000 + b"0]"
    tracemalloc.start()
    replies = [
        served.call("/v2/models/animals/infer", b'{"inputs":' + flood + b"}"),
        served.call("/v2/models/animals/infer", b'{"inputs":[{"shape":' + flood + b"}]}"),
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(reply.status, slug(reply)) for reply in replies] == [(400, "bad-tensor")] * 2
    assert all(len(reply.body) < 1000 for reply in replies)
    assert peak < 5_000_000
    large = served.call("/v2/models/animals/infer", b"[" + b"0," * 60_000)
    assert (large.status, slug(large)) == (413, "body-too-large")


def test_requests_that_are_none_are_refused(served):
    values = tensor(served)
    for reply in (
        served.call("/v2/models/animals/infer", b"nonsense"),
        served.call("/v2/models/animals/infer", b"[]"),
        infer(served, {"inputs": []}),
        infer(served, {"inputs": [as_input(values)], "outputs": [{"name": "other"}]}),
        infer(served, {"inputs": [as_input(values)]}, b"tail"),
        infer(
            served, {"inputs": [as_input(values)]}, headers={"Inference-Header-Content-Length": "99999999"}
        ),
        infer(served, {"inputs": [as_input(values)]}, headers={"Inference-Header-Content-Length": "-1"}),
        infer(served, {"inputs": [as_input(values)]}, headers={"Inference-Header-Content-Length": "9" * 999}),
        infer(served, {"inputs": [as_input(values, data=[None] * values.size)]}),
        infer(served, {"inputs": [as_input(values, data=[True] * values.size)]}),
        infer(served, {"inputs": [as_input(values, data=["1"] * values.size)]}),
        infer(served, {"inputs": [as_input(values) | {"shape": ["1", True, 12, 16]}]}),
    ):
        assert (reply.status, slug(reply)) == (400, "bad-tensor")
    assert infer(served, {}, name="plants").status == 404


def test_the_server_and_its_models_say_that_they_are_there(served):
    assert served.call("/v2").json["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/animals/ready", "/healthz", "/readyz"):
        assert served.call(path).status == 200
    assert served.call("/v2/models/animals/versions/1").json == served.call("/v2/models/animals").json
    assert served.call("/v2/models/animals/versions/2").status == 404
    assert served.call("/v2/models/plants/ready").status == 404


# -- uploads


def upload(served, content, name="theirs.onnx"):
    return served.call("/v1/uploads", content, query=[("name", name)])


def test_a_file_is_checked_mended_fetched_and_forgotten(served, tmp_path):
    content = classifier_file(tmp_path / "m.onnx", activation="").read_bytes()
    sent = upload(served, content, "../etc/their\r\n model.onnx")
    assert sent.status == 201
    assert sent.json["name"] == "their model.onnx"
    assert [finding["code"] for finding in sent.json["check"]["findings"]] == ["EW501"]
    assert sent.json["check"]["repair"] == "edgeworthy repair 'their model.onnx' -o MENDED.onnx"
    assert sent.json["card"]["class_names"] == ["cat", "dog", "horse"]
    ident = sent.json["id"]

    mended = served.call(f"/v1/uploads/{ident}/repair", b'{"opset": 13}')
    assert mended.status == 200
    assert {"not-probabilities", "opset"} <= {change["repair"] for change in mended.json["changes"]}
    assert mended.json["parity"]["verdict"] == "same"
    assert mended.json["check"]["conforms"]
    assert mended.json["repaired"]
    assert mended.json["card"]["opset"] == 13

    fetched = served.call(f"/v1/uploads/{ident}/file")
    path = tmp_path / "fetched.onnx"
    path.write_bytes(fetched.body)
    assert edgeworthy.check(path).conforms
    assert fetched.headers["content-disposition"] == "attachment; filename*=utf-8''their%20model.onnx"
    assert served.call(f"/v1/uploads/{ident}", method="DELETE").status == 204
    assert slug(served.call(f"/v1/uploads/{ident}/file")) == "no-such-upload"


def test_a_file_that_cannot_be_mended_stays_as_it_was(served, tmp_path):
    def nameless(model):
        model.graph.node[-1].output[0] = model.graph.output[0].name = "scores"

    content = classifier_file(tmp_path / "m.onnx", edit=nameless).read_bytes()
    ident = upload(served, content).json["id"]
    reply = served.call(f"/v1/uploads/{ident}/repair", b"{}")
    assert (reply.status, slug(reply)) == (422, "cannot-repair")
    assert "classes" in reply.json["error"]
    assert "--" not in reply.json["error"]
    assert served.call(f"/v1/uploads/{ident}/file").body == content
    told = json.dumps({"classes": ["a", "b", "c"]}).encode()
    assert served.call(f"/v1/uploads/{ident}/repair", told).json["card"]["class_names"] == ["a", "b", "c"]


def test_wishes_outside_their_description_are_refused(served, tmp_path):
    ident = upload(served, classifier_file(tmp_path / "m.onnx").read_bytes()).json["id"]
    for wishes in ({"classes": "/etc/passwd"}, {"opset": 99}, {"path": "x"}, {"mean": []}, [], "nonsense"):
        reply = served.call(f"/v1/uploads/{ident}/repair", json.dumps(wishes).encode())
        assert (reply.status, slug(reply)) == (422, "invalid-request"), wishes


def test_what_a_file_leaves_open_can_be_told(served, tmp_path):
    def open_size(model):
        for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            side.dim_param = "any"

    content = classifier_file(tmp_path / "m.onnx", edit=open_size).read_bytes()
    ident = upload(served, content).json["id"]
    told = json.dumps({"input_size": [3, 24, 32]}).encode()
    card = served.call(f"/v1/uploads/{ident}/repair", told).json["card"]
    assert card["inputs"][0]["shape"] == [1, 3, 24, 32]


def test_what_is_no_model_is_not_kept(served, tmp_path):
    whole = classifier_file(tmp_path / "m.onnx").read_bytes()
    kept = list(served.service.uploads._kept)
    for content in (b"", b"no model", whole[:-40], b"\x00" * 1000):
        reply = upload(served, content)
        assert (reply.status, slug(reply)) == (422, "unreadable-model"), content[:10]
    assert list(served.service.uploads._kept) == kept


def test_places_of_this_machine_are_left_out_whole_or_cut(tmp_path):
    path = str(tmp_path / "sub" / "model.onnx")
    text = (
        f"refuses {path}: no {tmp_path}/w.bin, '{path[:-7]}, /tmp/edgeworthy-x/y.onnx; node /module/conv/Conv"
    )
    told = without_places(text, path, "theirs.onnx")
    assert told == "refuses theirs.onnx: no …, '…, …; node /module/conv/Conv"


def test_weights_elsewhere_are_not_read_nor_places_told(served, tmp_path):
    def outside(model):
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../../../../etc/passwd")

    reply = upload(served, classifier_file(tmp_path / "m.onnx", edit=outside).read_bytes())
    assert reply.status in {201, 422}
    assert b"/tmp" not in reply.body
    assert b"edgeworthy-" not in reply.body


def test_only_the_last_files_are_kept(files, monkeypatch):
    monkeypatch.setattr(uploads, "_KEPT", 2)
    with serving(allow_upload=True) as running:
        idents = [upload(running, files[0].read_bytes()).json["id"] for _ in range(3)]
        found = [running.call(f"/v1/uploads/{ident}/file").status for ident in idents]
        home = running.service.uploads._home.name
        running.service.uploads.find(idents[2]).busy = True
        held = running.call(f"/v1/uploads/{idents[2]}", method="DELETE")
    assert found == [404, 200, 200]
    assert (held.status, slug(held)) == (409, "upload-in-use")
    assert not Path(home).exists()


def test_without_leave_nothing_is_uploaded(files):
    with serving(files[0]) as running:
        assert running.call("/v1/uploads", b"x").status == 404
        assert "/v1/uploads" not in running.call("/openapi.json").json["paths"]


def test_an_upload_has_a_limit(files):
    with serving(files[0], allow_upload=True, upload_bytes=500) as running:
        reply = upload(running, b"x" * 501)
        home = running.service.uploads._home.name
        assert not list(Path(home).iterdir())
    assert (reply.status, slug(reply)) == (413, "body-too-large")


# -- limits


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not(files):
    with serving(files[0], body_bytes=1000) as running:
        declared = running.call("/v1/predict", b"x" * 1001)
        chunked = running.call("/v1/predict", iter([b"x" * 600, b"x" * 600]), method="POST")
        fits = running.call("/v1/predict", picture())
        assert running.service.bodies.held == 0
    for reply in (declared, chunked):
        assert (reply.status, slug(reply)) == (413, "body-too-large")
        assert reply.headers["connection"] == "close"
    assert fits.status == 200


def test_a_sender_who_waits_for_a_word_is_refused_before_sending(served):
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    )
    with raw(served) as wire:
        wire.sendall(head % served.netloc.encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


def test_compressed_bodies_are_refused(served):
    reply = served.call("/v1/predict", picture(), headers={"Content-Encoding": "gzip"})
    assert (reply.status, slug(reply)) == (415, "coded-body")


def test_bodies_have_a_limit_together(files):
    with serving(files[0], body_bytes=1000) as running:
        running.service.bodies.held = 8 * 1000 - 10
        reply = running.call("/v1/predict", picture())
        running.service.bodies.held = 0
        assert running.call("/v1/predict", picture()).status == 200
    assert (reply.status, slug(reply)) == (429, "busy")
    assert int(reply.headers["retry-after"]) >= 1


def test_a_body_that_does_not_arrive_is_given_up(files, monkeypatch):
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.2)
    with serving(files[0]) as running, raw(running) as wire:
        wire.sendall(
            f"POST /v1/predict HTTP/1.1\r\nHost: {running.netloc}\r\nContent-Length: 99\r\n\r\nab".encode()
        )
        assert wire.recv(100).startswith(b"HTTP/1.1 408")


def slow_answers(monkeypatch, gate):
    """Answers wait for the gate; says how many have begun."""
    begun = []

    def answers(*args):
        begun.append(args)
        gate.wait(20)
        return classifiers.answers(*args)

    monkeypatch.setattr("edgeworthy.web.api.answers", answers)
    return begun


def test_one_more_than_the_queue_takes_is_told_when_to_come_back(files, monkeypatch):
    gate = threading.Event()
    begun = slow_answers(monkeypatch, gate)
    with serving(files[0], jobs=1, queue=1) as running, ThreadPoolExecutor(2) as crew:
        taken = [crew.submit(running.call, "/v1/predict", picture()) for _ in range(2)]
        wait_for(lambda: running.service.line.inside == 2)
        refused = running.call("/v1/predict", picture())
        metrics = running.call("/metrics").body.decode()
        gate.set()
        assert [future.result().status for future in taken] == [200, 200]
    assert len(begun) == 2
    assert (refused.status, slug(refused)) == (429, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert "edgeworthy_waiting_requests 2.0" in metrics


def test_an_answer_that_takes_too_long_is_given_up_and_one_not_begun_may_come_back(files, monkeypatch):
    gate = threading.Event()
    begun = slow_answers(monkeypatch, gate)
    with serving(files[0], jobs=1, timeout_s=2) as running, ThreadPoolExecutor(2) as crew:
        first = crew.submit(running.call, "/v1/predict", picture())
        wait_for(lambda: begun)
        second = crew.submit(running.call, "/v1/predict", picture())
        late, waiting = first.result(), second.result()
        taken = running.service.line.inside
        gate.set()
        wait_for(lambda: running.service.line.inside == 0)
    assert taken == 1
    assert (late.status, slug(late)) == (504, "too-late")
    assert (waiting.status, slug(waiting)) == (429, "busy")
    assert len(begun) == 1


def test_of_several_pictures_one_that_ends_the_call_ends_it_for_all(served, monkeypatch):
    def answers(shot, *args):
        if shot.name == "b.png":
            raise ProblemError("too-late", "It took too long.")
        return classifiers.answers(shot, *args)

    monkeypatch.setattr("edgeworthy.web.api.answers", answers)
    body, headers = form(*[(f"{letter}.png", picture()) for letter in "abcdefgh"])
    reply = served.call("/v1/predict", body, headers=headers)
    assert (reply.status, slug(reply)) == (504, "too-late")


def test_who_sends_slowly_takes_nobodys_place(files):
    with serving(files[0], jobs=1, queue=0) as running, raw(running) as wire:
        wire.sendall(
            f"POST /v1/predict HTTP/1.1\r\nHost: {running.netloc}\r\nContent-Length: 99\r\n\r\nab".encode()
        )
        time.sleep(0.1)
        assert running.call("/v1/predict", picture()).status == 200


def test_the_head_of_an_answer_can_be_asked_for(served):
    reply = served.call("/healthz", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert served.call("/v1/predict", method="HEAD").status == 405


def test_heads_have_a_limit(served):
    with raw(served) as wire:
        wire.sendall(f"GET /healthz HTTP/1.1\r\nHost: {served.netloc}\r\nX-Filler: ".encode() + b"x" * 70_000)
        assert wire.recv(100).startswith(b"HTTP/1.1 400")


def test_a_head_that_arrives_at_once_has_a_limit_too(served):
    with raw(served) as wire:
        wire.sendall(f"GET /healthz HTTP/1.1\r\nHost: {served.netloc}\r\nX: {'x' * 66_000}\r\n\r\n".encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 400")


def test_a_large_body_and_the_next_request_may_come_together(served):
    body = picture() + bytes(150_000)
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {served.netloc}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    with raw(served) as wire:
        wire.sendall(head + body + head[:50])
        time.sleep(0.3)
        wire.sendall(head[50:] + body)
        told = b""
        while told.count(b"HTTP/1.1 200") < 2:
            piece = wire.recv(65_536)
            assert piece, told
            told += piece


def test_a_body_that_goes_on_after_its_answer_is_not_waited_for_long(files, monkeypatch):
    monkeypatch.setattr("edgeworthy.web.server._HEAD_S", 1.0)
    with serving(files[0]) as running, raw(running) as wire:
        wire.sendall(
            f"POST /nothing HTTP/1.1\r\nHost: {running.netloc}\r\nContent-Length: 99999999\r\n\r\n".encode()
        )
        assert wire.recv(1000).startswith(b"HTTP/1.1 404")
        with contextlib.suppress(OSError):
            for _ in range(30):
                wire.sendall(b"more")
                time.sleep(0.1)
            assert wire.recv(1000) == b"", "it still listens"


def test_trailers_without_end_are_given_up(served):
    head = f"GET /healthz HTTP/1.1\r\nHost: {served.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
    head += "1\r\na\r\n0\r\n"
    with raw(served) as wire:
        wire.sendall(head.encode())
        with pytest.raises(OSError, match=r"reset|pipe"):
            for _ in range(100_000):
                wire.sendall(b"X: y\r\n" * 100)


def test_a_connection_that_asks_nothing_is_closed(files, monkeypatch):
    monkeypatch.setattr("edgeworthy.web.server._HEAD_S", 0.2)
    with serving(files[0]) as running:
        for said in (b"", b"GET /healthz HT"):
            with raw(running) as wire:
                wire.sendall(said)
                assert wire.recv(100) == b""


# -- who may call


def test_every_answer_keeps_browsers_from_guessing_and_framing(served):
    for path in ("/", "/v1/models", "/nothing", "/static/index.html"):
        headers = served.call(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "'unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_a_hostile_class_name_is_json_text(served):
    reply = served.call("/v1/predict", picture(), query=[("model", "odd")])
    assert reply.headers["content-type"] == "application/json"
    assert HOSTILE in [score["name"] for score in reply.json["pictures"][0]["answers"][0]["scores"]]


def test_a_name_that_was_made_to_lead_here_is_refused(served, files):
    for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::1"):
        reply = served.call("/v1/models", headers={"Host": host})
        assert (reply.status, slug(reply)) == (421, "unknown-host")
    assert served.call("/readyz", headers={"Host": "10.1.2.3:8000"}).status == 200
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
        assert served.call("/v1/models", headers={"Host": host}).status == 200
    with serving(files[0], hosts=("cats.example",)) as running:
        assert running.call("/v1/models", headers={"Host": "cats.example"}).status == 200


def test_pages_of_other_sites_may_not_call(served):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": f"http://{served.netloc}", "Sec-Fetch-Site": "same-site"},
    ):
        reply = served.call("/v1/predict", picture(), headers=headers)
        assert (reply.status, slug(reply)) == (403, "foreign-origin")
    own = {"Origin": served.address, "Sec-Fetch-Site": "same-origin"}
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert served.call("/v1/predict", picture(), headers=own).status == 200
    assert served.call("/", headers=link).status == 200


def test_with_a_key_only_those_who_show_it_may_call(files):
    with serving(files[0], api_key="correct-horse") as running:
        for path in ("/v1/models", "/v2", "/metrics", "/openapi.json", "/nothing"):
            for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Basic correct-horse"}):
                reply = running.call(path, headers=headers)
                assert (reply.status, slug(reply)) == (401, "key-needed")
        for headers in ({"X-API-Key": "correct-horse"}, {"Authorization": "bearer correct-horse"}):
            assert running.call("/v1/models", headers=headers).status == 200
        for path in ("/", "/static/index.html", "/healthz", "/readyz", "/v2/health/live"):
            assert running.call(path).status == 200
        told = running.call("/openapi.json", headers={"X-API-Key": "correct-horse"}).json
    assert told["paths"]["/v1/predict"]["post"]["security"] == [{"key": []}, {"bearer": []}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "short"},
        {"body_bytes": 0},
        {"queue": -1},
        {"port": 70000},
        {"timeout_s": 0},
        {"pixels": 0},
    ],
)
def test_settings_that_are_none_are_refused(wrong):
    with pytest.raises(OptionError):
        Settings(**wrong)


def test_what_loops_back_is_local_however_it_is_written():
    assert all(Settings(host=host).is_local for host in ("LOCALHOST", "127.0.0.2", "::1", "127.0.0.1"))
    assert not any(Settings(host=host).is_local for host in ("0.0.0.0", "::", "10.0.0.1", "cats.example"))


def test_an_address_that_cannot_be_had_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"127.0.0.1, port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(OptionError, match=r"no\.such\.host\.invalid is no address"):
        listen("no.such.host.invalid", 0)


# -- failures, figures, description


def test_what_was_not_foreseen_is_told_to_the_log_alone(served, monkeypatch, caplog):
    monkeypatch.setattr("edgeworthy.web.api._models", lambda service: 1 / 0)
    reply = served.call("/v1/models")
    assert (reply.status, slug(reply)) == (500, "unforeseen")
    assert b"Zero" not in reply.body
    assert "ZeroDivisionError" in caplog.text


def test_places_and_methods_that_are_not_there_are_problems(served):
    nothing, method = served.call("/nothing"), served.call("/v1/predict")
    assert (nothing.status, slug(nothing)) == (404, "not-found")
    assert (method.status, slug(method)) == (405, "method-not-allowed")
    assert method.headers["allow"] == "POST"
    assert slug(served.call("/static/..%2Fapp.py")) == "not-found"


def test_requests_are_counted_by_route_and_never_by_a_strangers_words(served):
    served.call("/nothing/at/all")
    served.call("/v1/models/animals/card")
    text = served.call("/metrics").body.decode()
    assert 'route="/v1/models/{name}/card",status="200"' in text
    assert 'route="other",status="404"' in text
    assert "nothing" not in text


def test_the_description_is_openapi_with_problems(served):
    told = served.call("/openapi.json").json
    assert told["openapi"].startswith("3.1")
    for operations in told["paths"].values():
        for operation in operations.values():
            assert PROBLEM in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]
    assert "image/*" in told["paths"]["/v1/predict"]["post"]["requestBody"]["content"]


def test_static_files_are_asked_for_again_and_not_sent_again(served):
    first = served.call("/")
    again = served.call("/", headers={"If-None-Match": first.headers["etag"]})
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert (again.status, again.body) == (304, b"")


# -- stopping


def test_what_was_taken_is_answered_before_the_server_ends(files, monkeypatch):
    gate = threading.Event()
    begun = slow_answers(monkeypatch, gate)
    with serving(files[0], jobs=1) as running, ThreadPoolExecutor(3) as crew:
        idle = running.connect()
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        taken = [crew.submit(running.call, "/v1/predict", picture()) for _ in range(3)]
        wait_for(lambda: running.service.line.inside == 3 and begun)
        running.server.should_exit = True
        wait_for(lambda: running.service.stopping)
        idle.request("GET", "/readyz")
        ready = idle.getresponse()
        assert (ready.status, ready.getheader("connection")) == (503, "close")
        idle.close()
        wait_for(lambda: refuses(running.netloc))
        gate.set()
        replies = [future.result() for future in taken]
    assert [reply.status for reply in replies] == [200] * 3
    assert {reply.headers["connection"] for reply in replies} == {"close"}
    assert running.service.telemetry.taken == running.service.telemetry.answered == 5


def test_what_is_not_answered_in_time_is_told_so(files, monkeypatch):
    gate = threading.Event()
    begun = slow_answers(monkeypatch, gate)
    with serving(files[0], jobs=1, grace_s=1) as running, ThreadPoolExecutor(1) as crew:
        taken = crew.submit(running.call, "/v1/predict", picture())
        wait_for(lambda: begun)
        running.server.should_exit = True
        reply = taken.result()
        gate.set()
    assert (reply.status, slug(reply)) == (503, "stopping")


def test_a_request_arrives_on_a_connection_that_was_made_before_the_server_ends(files):
    with serving(files[0]) as running, raw(running) as wire:
        running.call("/healthz")  # so that the connection before it has been accepted
        running.server.should_exit = True
        wait_for(lambda: refuses(running.netloc))
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        reply = wire.recv(65_536)
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in reply.lower()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes such programs")
def test_nobody_is_let_in_any_more_but_who_has_begun_goes_on():
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as before:
            _let_nobody_in(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            made, _ = listener.accept()
            with made:
                _let_nobody_in(made)  # as a connection inherits it that is made in that moment
                before.sendall(b"request")
                made.settimeout(5)
                assert made.recv(10) == b"request"
                made.sendall(b"answer")
                assert before.recv(10) == b"answer"


def refuses(netloc):
    connection = http.client.HTTPConnection(netloc, timeout=1)
    try:
        connection.connect()
    except OSError:
        return True
    connection.close()
    return False


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def raw(served):
    host, _, port = served.netloc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        yield wire


def test_the_limit_of_a_decoding_is_pillows_unless_it_is_told(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 77)
    assert Decoding().limit == 77
    assert Decoding(max_pixels=5).limit == 5
