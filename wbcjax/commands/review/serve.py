"""The server of a review from its start to its end: one for a folder, with its exports and its model beside it."""

import contextlib
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Generator
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout

from wbcjax.commands.review.server import Desk, application
from wbcjax.commands.review.training import Training
from wbcjax.system.places import error_text
from wbcjax.system.terminal import show

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
LOCK = "review.lock"  # in the folder of a review


@contextlib.contextmanager
def held(folder: Path) -> Generator[None]:
    """While entered, no other process reviews in the folder. Raises ValueError where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise ValueError(f"{folder} is open in another `wbcjax review`: use its page, or end it") from None


class Models:
    """The model in use, loaded beside the server, and the next one when a training has finished."""

    def __init__(self, desk: Desk, checkpoint: str, trust_parts: bool) -> None:
        self.desk, self.checkpoint, self.trust_parts = desk, checkpoint, trust_parts

    def begin(self) -> None:
        """Load the last model in a thread, and let it search what it has not searched."""
        if self.desk.training.models:
            # Not in the thread: tensorflow_datasets puts its own `__import__` in place while it is imported, and what
            # the server's thread imports meanwhile fails.
            import wbcjax.commands.review.searching  # noqa: F401

            self.desk.loading = True
            threading.Thread(target=self._begin, name="load", daemon=True).start()

    def use(self, run: Path) -> None:
        """Load a model, and let it search in place of the one before. Raises OSError and ValueError."""
        from wbcjax.commands.review.searching import Searching
        from wbcjax.predict.detector import load

        model = load(run, which=self.checkpoint, trust_parts=self.trust_parts)
        if model.classes != self.desk.reviewed.settings.classes:
            raise ValueError(f"{run} has the classes {', '.join(model.classes)}, and the review has others")
        self.end()
        searching = Searching(self.desk.reviewed, model, len(self.desk.training.models) - 1)
        self.desk.searching = searching
        searching.start()

    def end(self) -> None:
        if self.desk.searching:
            self.desk.searching.end()

    def _begin(self) -> None:
        run = self.desk.training.models[-1]
        try:
            self.use(Path(run))
        except (OSError, ValueError) as error:
            self.desk.training.progress.message = f"the model could not be loaded: {error_text(error)}"
            log.warning(self.desk.training.progress.message)
        self.desk.loading = False


def serve(models: Models, port: int, *, browser: bool) -> None:
    """Answer the page until Ctrl-C. Raises OSError for a port that is in use."""
    desk = models.desk
    reviewed, exporter, training = desk.reviewed, desk.exporter, desk.training
    listener = _listener(port)
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/{desk.token}/"
    config = uvicorn.Config(application(desk), log_level="warning", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    reviewed.changed = exporter.note
    training.trained = models.use
    exporter.start()
    models.begin()
    show(f"{len(reviewed.fields)} images at {address}", "Ctrl-C ends it; the same command opens it again as it was")
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        server.run(sockets=[listener])
    finally:
        models.end()
        training.end()
        exporter.end()


def train_and_wait(training: Training) -> None:
    """Train on the fields that are done, to the end. Raises ValueError where that fails."""
    thread = training.start()
    show(f"Training on {training.progress.fields} fields that are done; the log is {training.progress.log}")
    thread.join()
    if training.progress.state == "failed":
        raise ValueError(training.progress.message)
    show("Trained. The same command without --train searches the open fields with the new model")


def _has_screen() -> bool:
    """Whether a browser may open; without a screen it would be one of text, in this terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()  # from here on a page that comes early waits
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror}: give another --port, or none", f"port {port}") from error
    return listener
