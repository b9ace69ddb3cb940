"""The web server of a review: its page, images, and what the page asks for."""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import UInt8
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wbcjax.commands.review import panel
from wbcjax.commands.review.actions import Asked, taken
from wbcjax.commands.review.cells import Change, Refused, ReviewCell
from wbcjax.commands.review.exports import Exporter
from wbcjax.commands.review.guard import Guard
from wbcjax.commands.review.packed import packed, sizes
from wbcjax.commands.review.reviewed_set import NOT_SEARCHED, ReviewedField, ReviewedSet, Stale
from wbcjax.commands.review.training import Training
from wbcjax.enhance import METHODS
from wbcjax.smear.colours import colour_of
from wbcjax.smear.field import read_image
from wbcjax.system.places import error_text

if TYPE_CHECKING:
    from wbcjax.commands.review.searching import Searching  # which imports jax

PAGE = Path(__file__).parent / "page"
FILES = {"/": ("index.html", "text/html"), "/review.css": ("review.css", "text/css")} | {
    f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("review", "view", "geometry", "server")
}
LOOKS = ("none", "eff", "clahe", "he", "dhe")  # ways to look at an image, of `wbcjax.enhance.METHODS`
THUMBNAIL = 176  # pixels, of the longer side
QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


class Desk:
    """All that the server needs of a review: the set, its exports, its trainings, and the model, if there is one.

    loading: whether the model is on its way.
    token: of the addresses that it answers to.
    """

    def __init__(self, reviewed: ReviewedSet, exporter: Exporter, training: Training) -> None:
        self.reviewed, self.exporter, self.training = reviewed, exporter, training
        self.searching: Searching | None = None
        self.loading = False
        self.token = secrets.token_urlsafe(18)


def application(desk: Desk) -> Guard:
    """The server as an ASGI application; all its paths begin with the desk's token."""
    answers = _Answers(desk)
    routes = [Route(path, _file(*of)) for path, of in FILES.items()]
    routes += [
        Route("/api/set", answers.about_set),
        Route("/api/queue", answers.queue),
        Route("/api/fields/{number:int}", answers.field),
        Route("/api/fields/{number:int}/act", answers.act, methods=["POST"]),
        Route("/api/fields/{number:int}/ask", answers.ask, methods=["POST"]),
        Route("/api/counts/{number:int}", answers.counts),
        Route("/api/train", answers.progress),
        Route("/api/train", answers.train, methods=["POST"]),
        Route("/image/{number:int}/{look:str}", answers.image),
        Route("/thumbnail/{number:int}", answers.thumbnail),
    ]
    told: dict[Any, Callable[[Request, Exception], Response]] = {
        Stale: _stale,
        Refused: _refused,
        OSError: _failed,
        ValueError: _failed,
    }
    return Guard(Starlette(routes=routes, exception_handlers=told), desk.token)


class _Answers:
    """What the server answers. Each is run in a thread; changes of the set take turns by its lock."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.reviewed = desk, desk.reviewed
        self._scores = panel.Scores(desk.reviewed)
        self._image = lru_cache(16)(self._read_image)
        self._thumbnail = lru_cache(4096)(self._read_thumbnail)

    def about_set(self, request: Request) -> Response:
        """What stays as it is while the page is open."""
        classes = self.reviewed.settings.classes
        return JSONResponse(
            {
                "classes": classes,
                "colours": ["rgb({}, {}, {})".format(*colour_of(label)) for label in range(1, len(classes) + 1)],
                "looks": LOOKS,
                "folder": str(self.reviewed.folder),
                "reviewer": self.reviewed.reviewer,
                "fields": len(self.reviewed.fields),
                "model": bool(self.desk.training.models),
            }
        )

    def queue(self, request: Request) -> Response:
        """The queue, nothing where the page has its last version."""
        version = f"{self.reviewed.version}.{len(self._failed())}"
        if request.query_params.get("version") == version:
            return Response(status_code=204)
        with self.reviewed.lock:
            fields = panel.queue(self.reviewed)
        return JSONResponse({"version": version, "fields": fields, "failure": self.desk.exporter.failure})

    def field(self, request: Request) -> Response:
        number = self._number(request)
        if self.desk.searching:
            self.desk.searching.prefer(number)
        with self.reviewed.lock:
            field = self.reviewed.fields[number]
            cells, ghosts = list(field.review.cells.values()), field.ghosts
            answer = {
                **self._state(field),
                "number": number,
                "name": field.image.name,
                "width": field.image.width,
                "height": field.image.height,
                "cells": list(map(_plain, cells)),
                "ghosts": [[place, one.label, one.score, sizes(one.outlines)] for place, one in ghosts],
                "waits": self._waits(number, field),
                "failure": self._failed().get(number, ""),
            }
        outlines = [*(cell.outlines for cell in cells), *(one.outlines for _, one in ghosts)]
        return JSONResponse({**answer, "points": packed(outlines)})

    async def act(self, request: Request) -> Response:
        number, values = self._number(request), await _body(request)
        return await run_in_threadpool(lambda: self._changed(number, self.reviewed.act(number, values)))

    async def ask(self, request: Request) -> Response:
        number, values = self._number(request), await _body(request)
        return await run_in_threadpool(self._ask, number, values)

    def _ask(self, number: int, values: dict[str, Any]) -> Response:
        image = self.reviewed.fields[number].image
        asked = Asked(values, len(self.reviewed.settings.classes), (image.height, image.width))
        x, y = asked.place()
        if self.desk.searching is None:
            told = "the model is being loaded: ask again soon" if self.desk.loading else "there is no model to ask"
            raise Refused(f"{told}, or draw the cell (D)")
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise Refused("the place is outside of the image")
        found = self.desk.searching.at(number, (x, y))
        if found is None:
            raise Refused("the model sees no cell here: draw it (D)")
        change = self.reviewed.add(number, values.get("revision"), lambda review: taken(found, review, "ask"))
        return self._changed(number, change, score=found.score)

    def counts(self, request: Request) -> Response:
        return JSONResponse(panel.counts(self.reviewed, self._number(request)))

    def progress(self, request: Request) -> Response:
        searching = self.desk.searching
        return JSONResponse(
            {
                **asdict(self.desk.training.now()),
                "loading": self.desk.loading,
                "waiting": len(searching.waiting()) if searching else 0,
                "models": len(self.desk.training.models),
                "scores": self._scores.table(),
            }
        )

    async def train(self, request: Request) -> Response:
        await _body(request)
        await run_in_threadpool(self.desk.training.start)
        return JSONResponse(asdict(self.desk.training.progress))

    def image(self, request: Request) -> Response:
        look = request.path_params["look"]
        if look not in LOOKS:
            raise HTTPException(404)
        return Response(self._image(self._number(request), look), media_type="image/jpeg")

    def thumbnail(self, request: Request) -> Response:
        return Response(self._thumbnail(self._number(request)), media_type="image/jpeg")

    def _number(self, request: Request) -> int:
        number = request.path_params["number"]
        if number >= len(self.reviewed.fields):
            raise HTTPException(404)
        return number

    def _failed(self) -> dict[int, str]:
        return self.desk.searching.failed if self.desk.searching else {}

    def _waits(self, number: int, field: ReviewedField) -> bool:
        """Whether the model will search it for the first time."""
        searched = field.kept.candidates.model != NOT_SEARCHED or field.review.done
        return (self.desk.loading or self.desk.searching is not None) and not searched and number not in self._failed()

    def _state(self, field: ReviewedField) -> dict[str, Any]:
        review = field.review
        marks = {"done": review.done, "can_undo": review.can_undo, "can_redo": review.can_redo}
        return {"revision": field.revision, **marks}

    def _changed(self, number: int, change: Change, **told: Any) -> Response:
        with self.reviewed.lock:
            state = self._state(self.reviewed.fields[number])
        points = packed(cell.outlines for cell in change.put)
        put = list(map(_plain, change.put))
        return JSONResponse(
            {**state, **told, "drop": [cell.id for cell in change.dropped], "put": put, "points": points}
        )

    def _read(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        return read_image(self.reviewed.fields[number].image.path, self.reviewed.settings.max_pixels)

    def _read_image(self, number: int, look: str) -> bytes:
        image = self._read(number)
        return _jpeg(image if look == "none" else METHODS[look](image))

    def _read_thumbnail(self, number: int) -> bytes:
        image = self._read(number)
        shrink = min(1.0, THUMBNAIL / max(image.shape[:2]))
        return _jpeg(np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)))


def _plain(cell: ReviewCell) -> dict[str, Any]:
    """The cell as the page gets it: its `parts` are the numbers of their points, which are packed beside it."""
    plain = cell.as_json()
    return plain | {"parts": sizes(plain.pop("outlines"))}


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    content = (PAGE / name).read_bytes()
    return lambda request: Response(content, media_type=media_type)


async def _body(request: Request) -> dict[str, Any]:
    """The object that is posted. Raises Refused for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("the request is no JSON; load the page again")  # such as a form of another site
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refused("the request is no JSON; load the page again") from error
    if not isinstance(values, dict):
        raise Refused("the request is no JSON object; load the page again")
    return values


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), QUALITY)
    return data.tobytes()


def _stale(request: Request, error: Exception) -> Response:
    return JSONResponse({"said": "This field was changed elsewhere: it is shown as it stands now."}, 409)


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"said": str(error)}, 422)


def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"said": f"not done: {error_text(error)}"}, 500)
