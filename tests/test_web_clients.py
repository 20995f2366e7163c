"""The server as others meet it: a client of the Open Inference Protocol, its own description, a process."""

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
import schemathesis
import tritonclient.http as triton
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

import edgeworthy
from edgeworthy.filemodel import FileModel
from edgeworthy.images import framed
from tests.factory import classifier_file
from tests.serving import picture, serving

# Their bodies are pictures, models and tensors, which a description can only call bytes.
OPAQUE = {
    "/v1/predict",
    "/v1/uploads",
    "/v1/uploads/{ident}/repair",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/1/infer",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return classifier_file(tmp_path_factory.mktemp("models") / "animals.onnx")


@pytest.fixture(scope="module")
def served(file):
    with serving(file, allow_upload=True) as running:
        yield running


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_scores_that_predict_gives(served, file, tmp_path, binary):
    shot = tmp_path / "shot.png"
    shot.write_bytes(picture())
    (expected,) = edgeworthy.predict(file, shot, top_k=None)
    model = FileModel(file)
    values = model.values(framed(shot, model.frame()[0]))

    client = triton.InferenceServerClient(served.netloc)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("animals")
    facts = client.get_model_metadata("animals")
    (given_input,), (output,) = facts["inputs"], facts["outputs"]
    tensor = triton.InferInput(given_input["name"], given_input["shape"], given_input["datatype"])
    tensor.set_data_from_numpy(values, binary_data=binary)
    wanted = triton.InferRequestedOutput(output["name"], binary_data=binary)
    result = client.infer("animals", [tensor], outputs=[wanted], request_id="42")
    scores = result.as_numpy(output["name"])
    client.close()
    assert result.get_response()["id"] == "42"
    assert scores.shape == (1, 3)
    assert {one.class_id: one.probability for one in expected.scores} == dict(enumerate(scores[0].tolist()))


def test_tritonclient_is_told_what_is_wrong(served):
    client = triton.InferenceServerClient(served.netloc)
    tensor = triton.InferInput("image-", [1, 3, 2, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 2, 2), np.float32))
    with pytest.raises(triton.InferenceServerException, match=r"expected is FP32 \[1, 3, 12, 16\]"):
        client.infer("animals", [tensor])
    with pytest.raises(triton.InferenceServerException, match="There is no model 'plants'"):
        client.get_model_metadata("plants")
    client.close()


def test_the_server_keeps_its_own_description(served):
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 19
    for operation in operations:
        keeps_its_description(operation)


def keeps_its_description(operation):
    excluded = [positive_data_acceptance] if operation.path in OPAQUE else []

    examples = 4 if "uploads" in operation.path else 12  # each starts a process

    @given(case=operation.as_strategy())
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def holds(case):
        name = (case.path_parameters or {}).get("name")
        if name is not None and len(str(name)) % 2:  # else nothing but models that are not there
            case.path_parameters["name"] = "animals"
        case.call_and_validate(excluded_checks=excluded)

    holds()


# -- the command


@pytest.fixture
def process(file):
    """The command in a process of its own; gives it and its address."""
    command = [sys.executable, "-m", "edgeworthy", "serve", str(file), "--port", "0"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = ""
    while not address:
        line = child.stderr.readline()
        assert line, "it ended"
        found = re.search(r"Serving on (http://\S+/);", line)
        address = found.group(1) if found else ""
    yield child, address
    child.kill()
    child.wait()
    child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_load_loses_no_request_that_was_taken(process, number):
    child, address = process
    told, begun, lost = [], threading.Event(), []

    def ask():
        while True:
            request = urllib.request.Request(f"{address}v1/predict", picture(400, 300))
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    told.append((reply.status, bool(reply.read())))
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    lost.append(error)
                return
            except OSError as error:
                lost.append(error)
                return
            if len(told) > 20:
                begun.set()

    crowd = [threading.Thread(target=ask) for _ in range(8)]
    for one in crowd:
        one.start()
    assert begun.wait(30)
    os.kill(child.pid, number)
    for one in crowd:
        one.join(30)
    assert child.wait(30) == 0
    assert lost == []
    assert set(told) == {(200, True)}
    assert child.stderr.read().strip().endswith(f"answered all {len(told)} requests")


def test_a_model_that_does_not_end_keeps_nobody_from_ending(file):
    code = (
        "import time; from edgeworthy.web import api\n"
        "api.answers = lambda *_: (print('begun', flush=True), time.sleep(300))\n"
        "from edgeworthy.cli import main\n"
        f"main(['serve', {str(file)!r}, '--port', '0', '--grace', '1'])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = ""
    while not address:
        found = re.search(r"Serving on (http://\S+/);", child.stderr.readline())
        address = found.group(1) if found else ""
    told = []

    def ask():
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}v1/predict", picture()), timeout=60)
        except urllib.error.HTTPError as error:
            told.append(error.code)

    thread = threading.Thread(target=ask)
    thread.start()
    assert child.stdout.readline() == "begun\n"
    child.terminate()
    _, said = child.communicate(timeout=30)
    thread.join(30)
    assert (child.returncode, told) == (0, [503])
    assert "Traceback" not in said
    assert said.endswith("answered all 1 requests\n")


def test_nothing_to_serve_and_wrong_files_end_before_anything_listens(run, tmp_path):
    code, _, err = run("serve")
    assert code == 2
    assert "There is nothing to serve" in err
    code, _, err = run("serve", tmp_path / "gone.onnx", "--port", 0)
    assert code == 2
    assert "gone.onnx is not there" in err
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    code, _, err = run("serve", broken, "--port", 0)
    assert code == 2
    assert "edgeworthy check" in err
    code, _, err = run("serve", broken, "--port", 0, "--api-key", "short")
    assert code == 2
    assert "8 or more" in err


def test_listening_to_others_without_a_key_is_warned_of(file, monkeypatch, run):
    monkeypatch.setattr("edgeworthy.web.server.Server.run", lambda self, sockets: None)
    _, _, err = run("serve", file, "--port", 0, "--host", "0.0.0.0")
    assert "warning: everybody who reaches 0.0.0.0 can use this server" in err
    _, _, err = run("serve", file, "--port", 0, "--host", "0.0.0.0", "--api-key", "correct-horse")
    assert "warning" not in err
    _, _, err = run("serve", file, "--port", 0)
    assert "warning" not in err
    assert "animals: 3 classes, letterbox to 12x16, bilinear (the platform's default)" in err
