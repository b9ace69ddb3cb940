"""What stands before the server of a review: requests that cannot come from its own page are refused."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import Response

from wbcjax.commands.review.cells import Refused

HOSTS = ("127.0.0.1", "localhost", "[::1]")  # any port: an ssh tunnel may begin at another one
LARGEST_BODY = 2**22  # bytes of a request
LONGEST_PATH = 200
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application before another one, which gets the path without the token.

    It refuses requests by another host's name (DNS rebinding), from another site, without the token, or too long.
    """

    def __init__(self, inner: Application, token: str) -> None:
        self._inner, self._token = inner, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        elif scope["type"] != "http":  # a websocket, which there is none of
            await send({"type": "websocket.close", "code": 1008})
        elif refusal := self._refusal(scope):
            await refusal(scope, receive, _with_headers(send))
        else:
            path = scope["path"].removeprefix(f"/{self._token}")
            inner = {**scope, "path": path, "raw_path": path.encode()}
            await self._inner(inner, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if _without_port(headers.get("host", "")) not in HOSTS:
            return _plain("This server answers to localhost and 127.0.0.1 alone.", 403)
        origin = headers.get("origin", "")
        if origin and _without_port(origin.removeprefix("http://")) not in HOSTS:
            return _plain("Requests from other sites are refused.", 403)
        token, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return _plain("Open the whole address that `wbcjax review` printed: it has a token.", 403)
        if not slash:
            return Response(status_code=307, headers={"Location": f"/{token}/"})
        if len(scope["path"]) > LONGEST_PATH:
            return _plain("There is no such page.", 404)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > LARGEST_BODY:
            return _plain("The request is too long.", 413)
        return None


def _limited(receive: Receive) -> Receive:
    """The body as far as LARGEST_BODY, also where its length is not given. Raises Refused beyond."""
    left = LARGEST_BODY

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refused("the request is too long")
        return message

    return limited


def _with_headers(send: Send) -> Send:
    own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return sent


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _plain(text: str, status: int) -> Response:
    return Response(text, status, media_type="text/plain")
