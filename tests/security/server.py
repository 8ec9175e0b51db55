"""A server in this process and pages that talk to it as a browser does, without one."""

import http.client
import json
import socket
import threading
import time
import uuid
from http.cookies import SimpleCookie

TIMEOUT = 60


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """One browser tab: it keeps its cookie, loads the page, and sends events over gradio's own protocol."""

    def __init__(self, demo, tab=None, cookies=True):
        self.demo, self.tab, self.cookies = demo, tab or uuid.uuid4().hex, cookies
        self.session, self.cookie = uuid.uuid4().hex[:12], ""
        self.config = {}

    # -- plain requests --------------------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=()):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.demo.server_port, timeout=TIMEOUT)
        sent = {"Content-Type": "application/json", **dict(headers)}
        if self.cookie:
            sent["Cookie"] = self.cookie
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if self.cookies and (given := answer.getheader("set-cookie")):
            found = SimpleCookie(given)
            self.cookie = "; ".join(f"{name}={one.value}" for name, one in found.items())
        return answer.status, answer.headers, content

    def get(self, path):
        return self.request("GET", path)

    def upload(self, name, content):
        """(status, paths on the server)"""
        edge = uuid.uuid4().hex
        body = b"".join([
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n", content, f"\r\n--{edge}--\r\n".encode(),
        ])  # fmt: skip
        form = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        status, _, answer = self.request("POST", "/gradio_api/upload", body, form)
        return status, json.loads(answer)

    # -- the page --------------------------------------------------------------------------------------------------

    def load(self):
        """Open the page; its session begins."""
        assert self.get("/")[0] == 200
        status, _, content = self.get("/config")
        assert status == 200
        self.config = json.loads(content)
        loads = [d for d in self.config["dependencies"] if ["load"] in [t[1:] for t in d["targets"]]]
        begin = max(loads, key=lambda dependency: len(dependency["outputs"]))  # the one that fills the page
        self.event(begin["id"], [self.tab, ""])
        return self

    def component(self, elem_id):
        return next(c for c in self.config["components"] if c["props"].get("elem_id") == elem_id)["id"]

    def fired_by(self, elem_id, event):
        """The id of the handler of a component's event."""
        wanted = [self.component(elem_id), event]
        return next(d["id"] for d in self.config["dependencies"] if wanted in [list(t) for t in d["targets"]])

    def join(self, handler, data, event_data=None):
        """Send an event; (status, answer)."""
        body = {"data": data, "fn_index": handler, "session_hash": self.session, "event_data": event_data}
        status, _, content = self.request("POST", "/gradio_api/queue/join", json.dumps(body))
        return status, json.loads(content)

    def event(self, handler, data, event_data=None):
        """Send an event and wait for its end; the messages of it."""
        status, answer = self.join(handler, data, event_data)
        assert status == 200, answer
        return list(self.news(answer["event_id"]))

    def news(self, event):
        """The messages of an event as they come, the last one included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.demo.server_port, timeout=TIMEOUT)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        connection.request("GET", f"/gradio_api/queue/data?session_hash={self.session}", headers=headers)
        try:
            for line in connection.getresponse():
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    if message.get("event_id") == event:
                        yield message
                        if message["msg"] == "process_completed":
                            return
        finally:
            connection.close()

    def stroke(self, cells, value=1.0, number=1):
        """Paint cells of the map; the seconds that it took and the answer."""
        before = time.monotonic()
        messages = self.event(self.fired_by("gates", "stroke"), [None], {"cells": cells, "value": value, "id": number})
        return time.monotonic() - before, messages[-1]

    def click(self, elem_id):
        """Press a button with all fields as the page shows them at first; (status, answer) of joining."""
        handler = self.fired_by(elem_id, "click")
        inputs = next(d["inputs"] for d in self.config["dependencies"] if d["id"] == handler)
        shown = {c["id"]: c["props"].get("value") for c in self.config["components"]}
        return self.join(handler, [shown[one] for one in inputs])

    def heartbeat(self):
        """Hold the page's connection open, as a browser does; call the result to let go."""
        connection = http.client.HTTPConnection("127.0.0.1", self.demo.server_port, timeout=TIMEOUT)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        connection.request("GET", f"/gradio_api/heartbeat/{self.session}", headers=headers)
        answer = connection.getresponse()
        answer.readline()

        def let_go():
            answer.close()
            connection.close()

        return let_go


def together(verbs):
    """Call all of them at once, each in a thread; their results in order. Raises the first error."""
    results, errors = [None] * len(verbs), []

    def run(i, verb):
        try:
            results[i] = verb()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def map_of(answer):
    """What the answer to a stroke says of the map, which comes first of all and as text."""
    return json.loads(answer["output"]["data"][0])
