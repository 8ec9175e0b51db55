"""Who may talk to this server: names that it answers to, and pages that may send to it.

A page of any web site can make its own name point to 127.0.0.1 (DNS rebinding) and then read what a server on this machine
answers, unless that server looks at the name it was asked by. And it can send to http://127.0.0.1 under its own name, which the
browser then says in the Origin header. Both are refused here, before anything else of the app sees the request.
"""

import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from tada_studio.errors import InputError

#: Names of this machine that no name server can give to another.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def host_name(value: str) -> str:
    """The name in a Host header, in an origin or of an address: no port, no brackets, lower case; "" for what is none."""
    if value.count(":") > 1 and value[0] != "[" and "//" not in value:
        value = f"[{value}]"  # an IPv6 address as people type it
    try:
        return (urlsplit(value if "//" in value else f"//{value}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a server that listens on ``host`` is reached from this machine only."""
    name = host_name(host)
    return name in LOOPBACK or name.startswith("127.")


def check_exposure(host: str, public: bool, auth: object, share: bool = False) -> None:
    """Raises InputError for a server that others could reach and that neither keeps them apart nor asks who they are."""
    if public or auth or (is_loopback(host) and not share):
        return
    where = "a public link" if share else f"--host {host}"
    raise InputError(
        f"{where} lets others in, who could then read and write files as you. Add --auth NAME:PASSWORD for people whom you "
        "trust, or --public for strangers: it takes no paths, keeps visitors apart and limits what each may use."
    )


class HostGuard:
    """ASGI middleware that answers 403 to a foreign Host and to a foreign Origin.

    hosts: names that the server answers to; None: any, as behind a proxy whose name it does not know (the visitors of such a
    server are kept apart or have to sign in, so a rebound name gains nothing)
    own: further names that pages of this server may come from, such as a Space's public name

    Gradio answers CORS preflights before this is asked; they carry nothing, and what would follow is refused here.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None = LOOPBACK, own: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = None if hosts is None else frozenset(map(host_name, hosts))
        self.own = frozenset(map(_netloc, own))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else ""
        if not problem:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps({"detail": problem}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope) -> str:
        hosts, origins, forwarded = (_values(scope, name) for name in (b"host", b"origin", b"x-forwarded-host"))
        if self.hosts is not None and (len(hosts) != 1 or host_name(hosts[0]) not in self.hosts):
            return "This server answers to its own name only. Open it by the address that it printed when it started."
        # a proxy says by which name it was asked; a server that checks its name has none in front of it
        mine = {_netloc(host) for host in (hosts if self.hosts is not None else hosts + forwarded)} | self.own
        if any(_netloc(origin) not in mine for origin in origins):
            return "Another web site's page may not use this server."
        return ""


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def _netloc(value: str) -> str:
    """Name and port, where the usual ports count as none: proxies drop them."""
    try:
        parts = urlsplit(value if "//" in value else f"//{value}")
        port = parts.port
    except ValueError:
        return "?"
    return f"{parts.hostname or '?'}:{port if port not in (None, 80, 443) else ''}"
