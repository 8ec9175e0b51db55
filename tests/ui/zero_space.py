"""A ZeroGPU Space on this machine: the real `spaces`, and in the place of Hugging Face's scheduler a server of our own.

    python zero_space.py FOLDER    FOLDER holds what a Space's repository holds; app.py is started as a Space starts it

The scheduler lends a GPU that is not there: the two functions of `spaces` that would touch one are left out, so that what was sent
to it runs on the CPU of the forked process. Prints one line of JSON when the app answers; ends when its input does.
"""

import json
import os
import runpy
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

#: What the scheduler was asked, and how many seconds it has left to lend.
CALLS: list[dict] = []
LEFT = 3600


class Scheduler(BaseHTTPRequestHandler):
    """Hugging Face's own answers to /startup-report, /schedule, /allow and /release; /calls and /left are for the test."""

    def do_POST(self):
        global LEFT
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        CALLS.append({"call": url.path[1:], **asked})
        if url.path == "/left":
            LEFT = int(asked["seconds"])
        if url.path == "/schedule" and LEFT <= 0:
            return self.answer(429, {"left": 0, "wait": "PT3600S"})
        lent = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": "token"}
        return self.answer(200, lent if url.path == "/schedule" else {})

    def do_GET(self):
        self.answer(200, CALLS)

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def _as_built_for_cuda():
    """What `spaces` looks for in torch, where torch was built for CPUs alone."""
    import torch

    torch.version.cuda = torch.version.cuda or "12.8"
    if not hasattr(torch._C, "_cuda_init"):
        torch._C._cuda_init = lambda: None
        torch.cuda._is_in_bad_fork = bool  # which says False, and can be pickled


def main(folder):
    scheduler = ThreadingHTTPServer(("127.0.0.1", 0), Scheduler)
    threading.Thread(target=scheduler.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{scheduler.server_port}"
    home = tempfile.mkdtemp()
    os.environ.update(
        SPACES_ZERO_GPU="true", SPACES_ZERO_DEVICE_API_URL=where, ZEROGPU_OFFLOAD_DIR=f"{home}/offload",
        SPACE_ID="someone/tada", TADA_STUDIO_STATE=f"{home}/state", HF_HUB_OFFLINE="1",
    )  # fmt: skip
    os.chdir(folder)
    sys.path.insert(0, folder)
    _as_built_for_cuda()
    import spaces
    from spaces.zero import torch as on_device
    from spaces.zero.decorator import decorated_cache

    on_device.init = lambda nvidia_uuid: None
    on_device.move = lambda callback=None: None

    space = runpy.run_path("app.py")  # as a module: it starts no server by itself
    import torch

    from tada_studio import app
    from tada_studio.pipeline import jobs

    assert spaces.config.Config.zero_gpu and torch.cuda.is_available(), "spaces pretends that there is a GPU"
    jobs.SMALL = 0  # the sample's base is small enough for the CPU, and is to be sent all the same
    _, url, _ = app.launch(space["demo"], ssr_mode=False, prevent_thread_lock=True, quiet=True)
    names = sorted({task.__name__ for task in decorated_cache})
    print(
        json.dumps({"url": url, "scheduler": where, "package": app.__file__, "pid": os.getpid(), "gpu": names}),
        flush=True,
    )
    os.read(0, 1)  # not sys.stdin: whoever is forked while it is being read could not close it


if __name__ == "__main__":
    main(sys.argv[1])
