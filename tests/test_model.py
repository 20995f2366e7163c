"""Files are read with checks, and written whole or not at all."""

import os
import signal
import subprocess
import sys
import time

import onnx
import pytest

from edgeworthy.errors import ModelFileError, NotConformantError, TargetError
from edgeworthy.model import (
    append_metadata,
    digest,
    draft,
    metadata_bytes,
    metadata_of,
    parse,
    read,
    to_bytes,
    write_in_pieces,
)
from tests.factory import classifier, classifier_file


def test_metadata_behind_a_model_is_the_models(tmp_path):
    model = classifier()
    model.metadata_props.add(key="author", value="me")
    content = to_bytes(model)
    both = content + metadata_bytes({"b": "2", "a": "é"})
    assert metadata_of(parse(both, "m")) == {"author": "me", "b": "2", "a": "é"}
    model.metadata_props.add(key="b", value="2")
    model.metadata_props.add(key="a", value="é")
    assert both == to_bytes(model)
    (tmp_path / "m.onnx").write_bytes(both)
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)


def test_a_model_in_pieces_is_the_model(tmp_path):
    model = classifier()
    model.producer_name = "test"
    model.graph.doc_string = "of the graph"
    model.metadata_props.add(key="author", value="me")
    model.functions.add(name="f", domain="here")
    assert len(model.graph.initializer) > 1
    write_in_pieces(model, tmp_path / "m.onnx")
    assert read(tmp_path / "m.onnx") == model
    assert (tmp_path / "m.onnx").stat().st_size > len(to_bytes(model))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00" * 50, "is not an ONNX model|holds no ONNX graph"),
        (b"hello, world", "is not an ONNX model"),
        (to_bytes(classifier())[:-9], "is not an ONNX model, or is cut off"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "holds no ONNX graph"),
    ],
)
def test_what_is_no_model_says_so(tmp_path, content, message):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read(tmp_path / "m.onnx")


def test_what_is_no_file_says_so(tmp_path):
    for path in (tmp_path, tmp_path / "absent.onnx"):
        with pytest.raises(ModelFileError, match=path.name):
            read(path)


def test_a_draft_becomes_the_target_or_vanishes(tmp_path):
    target = tmp_path / "m.onnx"
    with pytest.raises(ValueError, match="midway"), draft(target) as file:
        file.write(b"half")
        assert not target.exists()
        raise ValueError("midway")
    assert list(tmp_path.iterdir()) == []
    with draft(target) as file:
        written = file.write(b"whole")
        file.append(b", and more")
        file.commit()
    assert target.read_bytes() == b"whole, and more"
    assert (written.sha256, written.size_bytes) == (digest(b"whole"), 5)
    assert list(tmp_path.iterdir()) == [target]


DAMAGES = {
    "the beginning": lambda b: b"x" + b[1:],
    "the end": lambda b: b[:-1] + b"x",
    "more": lambda b: b + b"x",
}


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_a_file_that_the_disk_gives_back_changed_is_no_proven_one(tmp_path, monkeypatch, damage):
    with draft(tmp_path / "m.onnx") as file:
        written = file.write(b"proven" * 300_000)  # more than one piece

        def append(content):
            whole = file.path.read_bytes() + content
            file.path.write_bytes(DAMAGES[damage](whole) if damage else whole)

        monkeypatch.setattr(file, "append", append)
        if damage:
            with pytest.raises(NotConformantError, match="not the one that was proved"):
                append_metadata(file, written, {"key": "value"})
        else:
            final = append_metadata(file, written, {"key": "value"})
            whole = file.path.read_bytes()
            assert (final.sha256, final.size_bytes) == (digest(whole), len(whole))


def test_a_file_that_the_disk_does_not_give_back_is_told(tmp_path, monkeypatch):
    with draft(tmp_path / "m.onnx") as file:
        written = file.write(b"proven")
        monkeypatch.setattr(file, "append", lambda content: file.path.unlink())
        with pytest.raises(ModelFileError, match="cannot be read: No such file"):
            append_metadata(file, written, {"key": "value"})


def test_an_existing_target_is_refused_at_once_and_at_the_end(tmp_path):
    target = tmp_path / "m.onnx"
    with draft(target) as file:
        file.write(b"ours")
        target.write_bytes(b"theirs")
        with pytest.raises(TargetError, match="appeared meanwhile"):
            file.commit()
    with pytest.raises(TargetError, match=r"exists\. .*--force"), draft(target):
        pass
    assert target.read_bytes() == b"theirs"
    with draft(target, force=True) as file:
        file.write(b"ours")
        file.commit()
    assert target.read_bytes() == b"ours"


def test_impossible_targets_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    for target, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "absent" / "m.onnx", "does not exist"),
        (tmp_path / "file" / "m.onnx", "does not exist"),
    ]:
        with pytest.raises(TargetError, match=message), draft(target):
            raise AssertionError


def test_an_unwritable_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(TargetError, match="not writable"), draft(tmp_path / "m.onnx"):
        raise AssertionError


FULL_DISK = """
import resource, sys
from pathlib import Path
from edgeworthy.errors import TargetError
from edgeworthy.model import draft
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with draft(Path(sys.argv[1])) as file:
        file.write(bytes(5000))
        file.commit()
except TargetError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing(tmp_path):
    target = tmp_path / "m.onnx"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target)], capture_output=True, text=True, check=True
    )
    assert "cannot be written: File too large. Choose another place" in done.stdout
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from edgeworthy.model import draft
target = Path(sys.argv[1])
print("go", flush=True)
for letter in b"abcdefghij" * 100:
    with draft(target, force=True) as file:
        file.write(bytes([letter]) * 200_000)
        file.append(bytes([letter]) * 100_000)
        file.commit()
"""


def test_killed_anywhere_the_target_is_whole(tmp_path):
    """Killed at fifteen moments, the target is always a complete one of the versions."""
    target = tmp_path / "m.onnx"
    seen = 0
    for moment in range(15):
        target.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.004 * moment)
            process.send_signal(signal.SIGKILL)
        if target.exists():
            seen += 1
            content = target.read_bytes()
            assert len(content) == 300_000
            assert len(set(content)) == 1
    assert seen


def test_initialisers_of_one_model_are_serialised_alike(tmp_path):
    first, second = (classifier_file(tmp_path / f"{i}.onnx").read_bytes() for i in range(2))
    assert first == second


def test_devices_and_pipes_are_no_targets_and_links_are_written_through(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetError, match="no regular file"), draft(tmp_path / "pipe", force=True):
        raise AssertionError
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    (tmp_path / "dangling.onnx").symlink_to("new.onnx")
    for name in ("link.onnx", "dangling.onnx"):
        with draft(tmp_path / name, force=True) as file:
            file.write(b"new")
            file.commit()
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "real.onnx").read_bytes() == (tmp_path / "new.onnx").read_bytes() == b"new"
