"""What the endpoints share: the models, the queue in front of them, and who looks after files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from edgeworthy.decoding import Decoding
from edgeworthy.web import desk
from edgeworthy.web.bodies import Bodies
from edgeworthy.web.classifiers import Classifier
from edgeworthy.web.line import Line
from edgeworthy.web.office import Office
from edgeworthy.web.problems import ProblemError
from edgeworthy.web.settings import Settings
from edgeworthy.web.telemetry import Telemetry
from edgeworthy.web.uploads import Uploads

_LAST_S = 0.5  # for threads to end after their work


class Service:
    """One server's state.

    Args:
        classifiers: by name, loaded.
        settings: limits and manners.
        jobs: pictures at a time.
        fast_decode: whether large JPEG files are decoded smaller.

    Attributes:
        stopping: whether no more connections are kept.
    """

    def __init__(
        self,
        classifiers: Mapping[str, Classifier],
        settings: Settings,
        *,
        jobs: int,
        fast_decode: bool = False,
    ) -> None:
        self.classifiers, self.settings = classifiers, settings
        self.decoding = Decoding(fast=fast_decode, max_pixels=settings.pixels)
        self.line = Line(jobs=jobs, queue=settings.queue, timeout_s=settings.timeout_s)
        self.bodies = Bodies(held_bytes=settings.held_bytes, timeout_s=settings.timeout_s)
        self.telemetry = Telemetry()
        self.office, self.uploads_office = Office(), Office()  # whoever uploads keeps nobody from a card
        self.uploads = Uploads() if settings.allow_upload else None
        self.stopping = False
        self._known: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self.telemetry.gauge("waiting_requests", "In the queue or at work.", lambda: self.line.inside)
        self.telemetry.gauge("held_bytes", "Of bodies.", lambda: self.bodies.held)

    def refuse_when_stopping(self) -> None:
        """Say that other servers are to be asked.

        Raises:
            ProblemError: then.
        """
        if self.stopping:
            raise ProblemError("stopping", "The server answers what it has taken, and ends.")

    async def card(self, classifier: Classifier) -> Any:
        """What a served file says of itself, with the frame that is in force."""
        facts = await self._once(desk.card, classifier)
        frame = {
            "mode": classifier.frame.mode,
            "description": classifier.frame.describe(),
            "source": classifier.chosen_by,
        }
        return facts | {"name": classifier.name, "frame": frame}

    async def check(self, classifier: Classifier) -> Any:
        """What the rules say of a served file."""
        return await self._once(desk.report, classifier) | {"model": classifier.name}

    async def _once(self, function: Any, classifier: Classifier) -> Any:
        """Files that are served do not change, so they are looked at once; who goes away ends nothing."""
        classifier.refuse_change()
        key = function.__name__, classifier.name
        task = self._known.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            path = classifier.model.path.absolute()
            work = self.office.call(function, path, f"{classifier.name}.onnx")
            task = self._known[key] = asyncio.get_running_loop().create_task(work)
        return await asyncio.shield(task)

    @property
    def is_stuck(self) -> bool:
        """Whether a model still runs, some time after the service was closed."""
        return not self.line.ended(_LAST_S)

    def close(self) -> None:
        """End threads and child processes, and take the uploaded files away."""
        self.line.close()
        self.office.close()
        self.uploads_office.close()
        if self.uploads:
            self.uploads.close()
