"""A server that speaks vLLM's protocol over real HTTP and computes with a tiny base, through PEFT's own LoRA layers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


class Backend:
    """requests: (path, content) of all that came; loaded: adapters that are there now; busy: most requests at once."""

    def __init__(self, base: Path, name: str = "pico") -> None:
        self.base, self.name = base, name
        self.plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.loaded: dict[str, torch.nn.Module] = {}
        self.requests: list[tuple[str, dict]] = []
        self.lock, self.now, self.busy = threading.Lock(), 0, 0
        self.meet: threading.Barrier | None = None  # so many must be under way before the first is answered
        self.by_id = False  # as vLLM also answers: by token id; and its words all read alike
        self.fails: dict[str, tuple[int, str]] = {}  # path -> what it answers instead

    def answer(self, path, content):
        self.requests.append((path, content))
        if path in self.fails:
            status, message = self.fails[path]
            return status, {"error": {"message": message, "code": status}}
        if path == "/v1/models":
            root = {"id": self.name, "root": str(self.base), "parent": None}
            return 200, {"data": [root, *({"id": name, "parent": self.name} for name in self.loaded)]}
        if path == "/v1/load_lora_adapter":
            fresh = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
            self.loaded[content["lora_name"]] = PeftModel.from_pretrained(fresh, content["lora_path"]).eval()
            return 200, f"Success: LoRA adapter '{content['lora_name']}' added successfully."
        if path == "/v1/unload_lora_adapter":
            del self.loaded[content["lora_name"]]
            return 200, "Success: removed."
        if path == "/v1/completions" and content["model"] in {self.name, *self.loaded}:
            return 200, self.completed(content)
        return 404, {"detail": "Not Found"}

    @torch.inference_mode()
    def completed(self, content):
        prompts = content["prompt"]
        prompts = prompts if isinstance(prompts[0], list) else [prompts]
        model = self.loaded.get(content["model"], self.plain)
        if self.meet is not None:
            self.meet.wait(20)
        choices = [self.choice(i, ids, model, content) for i, ids in enumerate(prompts)]
        return {"choices": choices[::-1]}  # in any order, with their index

    def choice(self, index, ids, model, content):
        if not content.get("echo"):
            return {"index": index, "text": self.written(ids, model, content), "logprobs": None}
        logs = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        own = [None, *(float(logs[k, token]) for k, token in enumerate(ids[1:]))]
        top = [None]
        for k, token in enumerate(ids[1:]):
            best = int(logs[k].argmax())
            top.append({self.word(best): float(logs[k, best]), self.word(token): own[k + 1]})
        last = int(logs[-1].argmax())
        tokens = {
            "token_logprobs": [*own, float(logs[-1, last])],
            "top_logprobs": [*top, {self.word(last): float(logs[-1, last])}],
        }
        found = {"index": index, "text": "", "logprobs": tokens}
        return {**found, "prompt_logprobs": self.ids(ids, logs)} if self.by_id else found

    def ids(self, ids, logs):
        """At each place the token itself and the likeliest, by id."""
        there = [{token, int(logs[k].argmax())} for k, token in enumerate(ids[1:])]
        return [None, *({str(t): {"logprob": float(logs[k, t])} for t in some} for k, some in enumerate(there))]

    def word(self, token):
        return "?" if self.by_id else f"token_id:{token}"

    def written(self, ids, model, content):
        found = []
        for _ in range(content["max_tokens"]):
            following = int(model(input_ids=torch.tensor([[*ids, *found]])).logits[0, -1].argmax())
            if following == self.tokenizer.eos_token_id:
                break
            found.append(following)
            text = self.tokenizer.decode(found, skip_special_tokens=True)
            if end := next((stop for stop in content.get("stop", []) if stop in text), None):
                return text.split(end)[0]
        return self.tokenizer.decode(found, skip_special_tokens=True)


@contextmanager
def served(backend: Backend):
    """The address of a server on this machine, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(*backend.answer(self.path, {}))

        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with backend.lock:
                backend.now += 1
                backend.busy = max(backend.busy, backend.now)
            try:
                self.reply(*backend.answer(self.path, content))
            finally:
                with backend.lock:
                    backend.now -= 1

        def reply(self, status, content):
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/v1/elsewhere")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    class Listening(ThreadingHTTPServer):
        request_queue_size = 128  # its usual 5 resets connections when many come at once

    server = Listening(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
