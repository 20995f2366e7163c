"""The house keeps its own rules: what may be imported where, one home for each word, complete lists."""

import dataclasses
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeworthy
from edgeworthy import errors, settling

SOURCE = Path(edgeworthy.__file__).parent
ROOT = SOURCE.parents[1]
EXTRAS = (
    *("torch", "torchvision", "timm", "transformers", "safetensors", "onnxsim"),
    *("sklearn", "scipy", "jinja2", "pyarrow", "av", "ray", "fsspec", "onnx_tool"),
    *("fastapi", "starlette", "pydantic", "uvicorn", "httptools", "prometheus_client", "python_multipart"),
)
ALL = [
    info.name for info in pkgutil.walk_packages([str(SOURCE)], "edgeworthy.") if "__main__" not in info.name
]
HEAVY = ("edgeworthy.exporting.", "edgeworthy.against", "edgeworthy.web.")
LIGHT = [name for name in ALL if not name.startswith(HEAVY)]


def bare(code):
    """Run code in a process that has none of the extras."""
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in EXTRAS)
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, check=False)


def test_every_module_outside_the_exporting_room_imports_without_the_extras():
    done = bare("import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in LIGHT))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ALL)
def test_every_module_imports_and_says_what_it_is_for(name):
    assert importlib.import_module(name).__doc__


def test_without_the_extras_export_says_what_to_install(tmp_path):
    code = (
        "sys.argv = ['edgeworthy', 'export', 'timm:resnet18', '-o', sys.argv[1]]\n"
        "from edgeworthy.cli import main\nmain()\n"
    )
    done = bare(code.replace("sys.argv[1]", repr(str(tmp_path / "m.onnx"))))
    assert done.returncode == 2
    assert 'pip install "edgeworthy[export]"' in done.stderr


def test_without_the_extra_serve_says_what_to_install():
    code = "sys.argv = ['edgeworthy', 'serve', 'm.onnx']\nfrom edgeworthy.cli import main\nmain()\n"
    done = bare(code)
    assert done.returncode == 2
    assert 'pip install "edgeworthy[serve]"' in done.stderr


def test_without_timm_a_timm_source_says_what_to_install(monkeypatch):
    from edgeworthy.sources.base import SourceRequest
    from edgeworthy.sources.registry import load_source

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(errors.MissingExtraError, match=r'pip install "edgeworthy\[timm\]"'):
        load_source(SourceRequest(spec="timm:resnet18"))


def test_checking_and_inspecting_load_no_torch(tmp_path):
    from tests.factory import classifier_file

    path = str(classifier_file(tmp_path / "m.onnx"))
    code = (
        "import sys, edgeworthy\n"
        f"edgeworthy.check({path!r}); edgeworthy.inspect({path!r})\n"
        "print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_light_install_checks_but_says_what_it_could_not():
    done = bare(
        "import tempfile, pathlib\nsys.path.insert(0, '.')\n"
        "from tests.factory import classifier_file\nimport edgeworthy\n"
        "path = classifier_file(pathlib.Path(tempfile.mkdtemp()) / 'm.onnx')\n"
        "import importlib.util\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'onnxsim' else found(name, *rest)\n"
        "report = edgeworthy.check(path)\nassert report.conforms\n"
        "print([skipped.reason for skipped in report.skipped if skipped.code == 'EW111'])"
    )
    assert 'pip install "edgeworthy[export]"' in done.stdout, done.stderr


def test_public_names_are_complete_and_lazy():
    for name in edgeworthy.__all__:
        assert getattr(edgeworthy, name)
    assert set(edgeworthy.__all__) == set(dir(edgeworthy))
    with pytest.raises(AttributeError):
        edgeworthy.absent  # noqa: B018
    done = subprocess.run(
        [sys.executable, "-c", "import edgeworthy, sys; print('numpy' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_the_tree_of_errors_is_drawn_whole():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    for error in classes:
        assert issubclass(error, errors.EdgeworthyError)
        assert re.search(rf"\b{error.__name__}\b", errors.__doc__)
    drawn = re.findall(r"\b(\w+Error)\b(?=  )", errors.__doc__)
    assert set(drawn) == {error.__name__ for error in classes}


@pytest.mark.parametrize("word", ['"image-"', '"image"', '"scores-"', '"means"', '"vars"'])
def test_the_contracts_words_have_one_home(word):
    homes = [path.name for path in SOURCE.rglob("*.py") if word in path.read_text("utf-8")]
    assert homes == ["contract.py"]


def test_torchs_exporter_is_called_in_one_place():
    callers = [path.name for path in SOURCE.rglob("*.py") if "torch.onnx.export(" in path.read_text("utf-8")]
    assert callers == ["tracing.py"]


def test_keywords_of_export_are_the_fields_of_its_options():
    fields = {field.name: field.type for field in dataclasses.fields(settling.ExportOptions)}
    keywords = {
        name: annotation.__forward_arg__
        for name, annotation in settling.ExportKeywords.__annotations__.items()
    }
    assert keywords == fields


def test_contract_rows_have_a_rule_a_default_or_a_test():
    """Every row of docs/contract.md says where it is kept."""
    text = (ROOT / "docs" / "contract.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 26))
    for number, kept in rows:
        assert kept.strip(), f"row {number}"
        for code in re.findall(r"EW\d{3}", kept):
            from edgeworthy.rules import RULES

            assert code in {rule.code for rule in RULES}, f"row {number} names {code}"


def test_generated_docs_are_as_the_code_says():
    script = ROOT / "scripts" / "make_docs.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_collected_about_the_user(tmp_path):
    """ONNX Runtime's newer builds keep a device id and events in the cache folder unless told not to."""
    from PIL import Image

    from tests.factory import classifier_file

    home = tmp_path / "home"
    home.mkdir()
    model = classifier_file(tmp_path / "m.onnx")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    for words in (["predict", str(model), str(tmp_path / "a.png")], ["check", str(model)]):
        command = [sys.executable, "-m", "edgeworthy", *words]
        subprocess.run(command, env=os.environ | places, check=True, capture_output=True)
    assert list(home.rglob("*")) == []
