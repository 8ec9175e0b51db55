"""The page itself, made once: it is the same for all visitors, and gradio makes its 800 KB anew for each."""

import gzip
from collections import OrderedDict
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Pages that are kept: one for each name that the server is reached by, in each of its forms.
MOST = 8
#: What the page depends on besides its address: all that a proxy may say of the name it is reached by.
_NAMES = ("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix", "x-gradio-server")
_QUERIES = frozenset({b"", b"__theme=dark", b"__theme=light", b"__theme=system"})


class _Kept(NamedTuple):
    headers: list[tuple[bytes, bytes]]
    plain: bytes
    packed: bytes


class PageCache:
    """ASGI middleware. Only for a server without sign-in: elsewhere the page depends on who asks.

    Packed it is a tenth as large, which gradio does only for addresses that end in a file's name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_page(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = scope["path"], scope["query_string"].decode(), *(headers.get(name, "") for name in _NAMES)
        if key not in self._kept:
            if (made := await self._made(scope, receive, send)) is None:
                return
            self._kept[key] = made
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        await _answer(self._kept[key], "gzip" in headers.get("accept-encoding", ""), send)

    async def _made(self, scope: Scope, receive: Receive, send: Send) -> _Kept | None:
        """What the app answers; None if that is no page, and then it was sent already."""
        messages: list[Message] = []

        async def gather(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, gather)
        start = messages[0]
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        if start["status"] != 200 or any(name == b"set-cookie" for name, _ in headers):
            for message in messages:
                await send(message)
            return None
        plain = b"".join(message.get("body", b"") for message in messages[1:])
        return _Kept(headers, plain, gzip.compress(plain, 6))


def _is_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"] not in _QUERIES:
        return False
    return scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/") in ("", "/config")


async def _answer(kept: _Kept, packed: bool, send: Send) -> None:
    body = kept.packed if packed else kept.plain
    headers = [*kept.headers, (b"content-length", str(len(body)).encode()), (b"vary", b"Accept-Encoding")]
    if packed:
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
