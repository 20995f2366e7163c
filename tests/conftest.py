"""Fixtures that several modules share."""

import pytest

from edgeworthy.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox():
    """One child process for all files: starting one takes longer than most checks."""
    with Sandbox() as running:
        yield running
