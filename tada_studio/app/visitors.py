"""Telling visitors apart: by the name they signed in with, or by a cookie that this server signed.

A script without cookies is recognised by its address. On a server that only its owner reaches, everybody is the owner.
"""

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tada_studio import scratch
from tada_studio.session.limits import MB, OWN, Limits
from tada_studio.session.visitor import HERE, OWNER, Runs, Visitor, size_of

COOKIE = "tada-visitor"
#: Seconds that a browser keeps it.
_MONTH = 30 * 24 * 3600
#: What a form adds to the file in it.
_FORM = MB


class Visitors:
    """All visitors of one server.

    limits: what each may use; apart: whether strangers come, who are recognised by cookie and address; runs: where bases run
    """

    def __init__(self, limits: Limits = OWN, apart: bool = False, runs: Runs = HERE) -> None:
        self.limits, self.apart, self.runs = limits, apart, runs
        self._secret = secrets.token_bytes(32)
        self._uploads: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._lock = threading.Lock()

    # -- who it is -------------------------------------------------------------------------------------------------

    def name(self, request: Any, page: str = "") -> str:
        """Who sent a request (gradio's or starlette's); ``page``: what to take for a name where everybody is the owner."""
        if user := getattr(request, "username", None):
            return f"user:{user}"
        if not self.apart:
            return page
        state = getattr(getattr(request, "request", request), "state", None)
        return str(getattr(state, "visitor", "") or "address:unknown")

    def visitor(self, name: str) -> Visitor:
        """What a visitor of this name has here."""
        if not self.apart:
            return Visitor(name, runs=self.runs) if name or self.runs is not HERE else OWNER
        return Visitor(
            name, self.limits, self.folder(name), lambda: self.uploaded(name) + size_of(self._results(name)), self.runs
        )

    def caller(self, request: Any) -> Visitor:
        """Who calls an endpoint."""
        return self.visitor(self.name(request))

    def results(self, request: Any) -> Path:
        """Where the files of a caller's answers lie, for gradio to serve."""
        return self._results(self.name(request))

    def _results(self, name: str) -> Path:
        return Path(os.environ.get("GRADIO_TEMP_DIR") or scratch.root()) / "api" / _digest(name)

    def folder(self, name: str) -> Path:
        """Where all that a visitor leaves on disk lies."""
        return scratch.root() / "visitors" / _digest(name)

    def issue(self) -> str:
        """A new visitor's cookie."""
        name = secrets.token_hex(16)
        return f"{name}.{self._signature(name)}"

    def known(self, cookie: str) -> str:
        """The visitor that a cookie names; "" unless this server signed it."""
        name, _, signature = cookie.partition(".")
        return name if hmac.compare_digest(signature.encode(), self._signature(name).encode()) else ""

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    # -- what they sent --------------------------------------------------------------------------------------------

    def uploaded(self, name: str) -> int:
        """Bytes of this visitor's uploads that have not been deleted yet."""
        with self._lock:
            uploads, end = self._uploads[name], time.monotonic() - 60 * (self.limits.kept_minutes or 60)
            while uploads and uploads[0][0] < end:
                uploads.popleft()
            if not uploads:
                del self._uploads[name]
            return sum(size for _, size in uploads)

    def charge(self, name: str, size: int) -> None:
        """An upload of so many bytes begins."""
        with self._lock:
            self._uploads[name].append((time.monotonic(), size))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


class VisitorGate:
    """ASGI middleware for a server of strangers: says who each request is of, and takes no upload over its share."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        state["visitor"] = self.visitors.known(_cookie(headers)) or f"address:{address(scope, headers)}"
        if scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"):
            if problem := self._refusal(state["visitor"], headers):
                await JSONResponse({"detail": problem}, 413)(scope, receive, send)
                return
        new = self.visitors.issue() if state["visitor"].startswith("address:") and _is_page(scope) else ""
        await self.app(scope, receive, _sets(new, _is_secure(scope, headers), send) if new else send)

    def _refusal(self, name: str, headers: Headers) -> str:
        """Why an upload is not taken; "" if it is, and then it counts."""
        limits, size = self.visitors.limits, headers.get("content-length", "")
        if not size.isdecimal():
            return "An upload has to say its size."
        if limits.upload is not None and int(size) > limits.upload + _FORM:
            return f"Uploads up to {limits.upload / MB:,.0f} MB are taken here; this one has {int(size) / MB:,.0f} MB."
        if limits.disk is not None and self.visitors.visitor(name).used() + int(size) > limits.disk:
            return f"Your files here would take more than {limits.disk / MB:,.0f} MB. Old ones are deleted within the hour."
        self.visitors.charge(name, int(size))
        return ""


def address(scope: Scope, headers: Headers) -> str:
    """Where a request comes from; behind a proxy of this machine's network, what that proxy says."""
    host = str((scope.get("client") or ("unknown", 0))[0])
    forwarded = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        return forwarded if forwarded and ip_address(host).is_private else host
    except ValueError:
        return host


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _is_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and scope["path"].rstrip("/") in ("", scope.get("root_path", "").rstrip("/"))


def _is_secure(scope: Scope, headers: Headers) -> bool:
    return "https" in (scope.get("scheme"), headers.get("x-forwarded-proto", "").partition(",")[0].strip())


def _sets(cookie: str, secure: bool, send: Send) -> Send:
    """``send`` that adds the cookie. Inside another site's frame, as a Space is shown, only such a cookie is kept."""
    rest = "; Secure; SameSite=None; Partitioned" if secure else "; SameSite=Lax"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.append("set-cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; Max-Age={_MONTH}{rest}")
        await send(message)

    return sending
