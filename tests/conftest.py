"""Fixtures that several modules share."""

import pytest

from edgeworthy.sandbox import Sandbox
from tests.chromium import MISSING, chromium


def pytest_terminal_summary(terminalreporter):
    """Say in the last lines what was not tried."""
    if chromium() is None:
        terminalreporter.section("not run", yellow=True)
        terminalreporter.write_line(MISSING)


@pytest.fixture(scope="session")
def sandbox():
    """One child process for all files: starting one takes longer than most checks."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def run(capsys):
    """The command line in this process."""
    from edgeworthy.cli import main

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call
