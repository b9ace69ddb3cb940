"""Reviews of drawn images, and requests to their server without a network."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from wbcjax.commands.review.candidates import Candidate, CandidateFiles, Candidates, Kept
from wbcjax.commands.review.cells import Outline, ReviewCell
from wbcjax.commands.review.exports import Exporter
from wbcjax.commands.review.reviewed_set import CANDIDATES, ImageFile, ReviewedSet, ReviewSettings
from wbcjax.commands.review.server import Desk, application
from wbcjax.commands.review.training import Training
from wbcjax.system.files import write_png

CLASSES = ("L1", "L2")
SIZE = (120, 160)  # height and width of every image


def square(x: float, y: float, side: float = 20.0) -> Outline:
    """The outline of a square by its upper left corner."""
    return ((x, y), (x + side, y), (x + side, y + side), (x, y + side))


def area(cell: ReviewCell) -> float:
    """By shapely, of parts that do not overlap."""
    return sum(shapely.Polygon(points).area for points in cell.outlines)


def candidate(x: float, y: float, score: float, label: int = 1) -> Candidate:
    return Candidate(label, (square(x, y),), score)


def write_images(folder: Path, names: tuple[str, ...]) -> list[ImageFile]:
    rng = np.random.default_rng(0)
    for name in names:
        write_png(folder / name, rng.integers(90, 200, (*SIZE, 3), np.uint8))
    return [ImageFile(name, folder / name, *SIZE) for name in names]


def write_candidates(folder: Path, found: dict[str, list[Candidate]]) -> None:
    """As if a model had searched the fields."""
    for name, ones in found.items():
        CandidateFiles(folder / CANDIDATES).write(name, Kept(Candidates(0, tuple(ones))))


FOUND = {  # two cells and a candidate; one cell in doubt; a field without any
    "a.png": [candidate(10, 10, 0.95), candidate(60, 10, 0.9, 2), candidate(110, 60, 0.2)],
    "b.png": [candidate(10, 10, 0.55)],
    "c.png": [],
}


def review(folder: Path, classes: tuple[str, ...] = CLASSES) -> ReviewedSet:
    """The review of the drawn images in a folder, begun or opened again."""
    out = folder / "review"
    if not out.exists():
        write_candidates(out, FOUND)
    images = write_images(folder / "images", tuple(FOUND))
    return ReviewedSet(out, images, ReviewSettings(classes), reviewer="a reviewer")


def act(reviewed: ReviewedSet, number: int, action: str, **values: Any) -> Any:
    revision = reviewed.fields[number].revision
    return reviewed.act(number, {"action": action, "revision": revision, **values})


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to the server of a review, as uvicorn would pass them on."""

    def __init__(self, reviewed: ReviewedSet, models: list[str] | None = None) -> None:
        self.desk = Desk(reviewed, Exporter(reviewed), Training(reviewed, models or []))
        self.application = application(self.desk)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", f"/{self.desk.token}/{path}", headers)

    def post(self, path: str, values: Any, **headers: str) -> Answer:
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        return self.ask("POST", f"/{self.desk.token}/{path}", {"content-type": "application/json"} | headers, body)

    def act(self, number: int, action: str, **values: Any) -> Answer:
        revision = self.get(f"api/fields/{number}").json["revision"]
        return self.post(f"api/fields/{number}/act", {"action": action, "revision": revision, **values})

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        given = {"host": "127.0.0.1:8000", "content-length": str(len(body))} | headers
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.application(scope, receive, send))  # type: ignore[arg-type]
        headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
