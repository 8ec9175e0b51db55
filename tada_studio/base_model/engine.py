"""A base that a server holds: vLLM, or any OpenAI-compatible server that loads LoRA adapters while it runs.

A variant is exported to a folder that the server sees, loaded by a name of its own, asked through /v1/completions and unloaded.
Tokens are made here, by the tokenizer of the base, so that what is scored is what the scorer of this process would score.
"""

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from tada_studio import scratch
from tada_studio.base_model.answering import Sampling
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Family, Found, Place, Question, Scoring
from tada_studio.base_model.files import name_of, tokenizer_at
from tada_studio.base_model.tree import Row
from tada_studio.errors import BaseError, MismatchError
from tada_studio.files import shown
from tada_studio.lora import Adapter

T = TypeVar("T")
#: Requests that are under way at once; the server makes batches of them.
IN_FLIGHT = 32
#: Seconds that one answer may take.
PATIENCE = 600.0
#: Where a key for the server is read from; a key for another service is never sent to an engine.
KEY = "TADA_STUDIO_ENGINE_KEY"
_LOADS = "start vLLM with --enable-lora, --max-lora-rank and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that was named is asked, and none that it points to."""

    def redirect_request(self, *args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server by its address."""

    url: str

    @classmethod
    def at(cls, url: str) -> "Server":
        """Raises BaseError for what is no address of a web server."""
        parts = urllib.parse.urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise BaseError(f"--engine {url}: is no address of a server. Write it like http://localhost:8000.")
        return cls(url.strip().rstrip("/").removesuffix("/v1").rstrip("/"))

    def ask(self, path: str, content: Any = None) -> Any:
        """What the server answers to a GET, or to a POST of JSON: JSON again, or a text. Raises BaseError."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        try:
            text = self._answer(request, again=not path.endswith("lora_adapter"))
        except urllib.error.HTTPError as error:
            raise BaseError(self._refused(path, error)) from error
        except (OSError, ValueError) as error:  # no connection, none any more, or no HTTP
            raise BaseError(
                f"{self.url}: the engine cannot be reached ({shown(error)}). Is it running, and is this its address?"
            ) from error
        try:
            return json.loads(text)
        except ValueError:
            return text

    def _answer(self, request: urllib.request.Request, again: bool) -> str:
        """again: ask once more if the connection breaks, as servers with many of them do; what changes a server is asked once."""
        try:
            with _OPENER.open(request, timeout=PATIENCE) as reply:
                return reply.read().decode("utf-8", "replace")
        except (ConnectionError, urllib.error.URLError) as error:
            broken = error.reason if isinstance(error, urllib.error.URLError) else error
            if not again or not isinstance(broken, (ConnectionResetError, BrokenPipeError)):
                raise
        return self._answer(request, again=False)

    def _refused(self, path: str, error: urllib.error.HTTPError) -> str:
        with suppress(OSError):
            body = error.read(100_000).decode("utf-8", "replace")
            with suppress(ValueError, AttributeError):
                found = json.loads(body)
                inner = found.get("error", found)
                body = str((inner if isinstance(inner, dict) else found).get("message") or found.get("detail") or body)
            hint = f" To load adapters {_LOADS}." if path.endswith("lora_adapter") else ""
            return f"{self.url}{path}: the engine answered {error.code} ({shown(' '.join(body.split()), 300)}).{hint}"
        return f"{self.url}{path}: the engine answered {error.code}."


@dataclass(frozen=True, eq=False)
class Engine:
    """A base on a server, with at most one adapter attached.

    ref:    name of the base, of which the tokenizer is; served: what the server calls it
    save:   writes an adapter as a folder that any server loads
    folder: where variants are exported: the server must see it under the same path
    digest: of this connection alone: what a server holds under a name may change
    """

    ref: str
    tokenizer: Any
    server: Server
    served: str
    save: Callable[[Adapter, Path], None]
    folder: Path
    digest: str = field(default_factory=lambda: f"engine {uuid.uuid4()}")
    family: Family = causal.FAMILY
    labels: tuple[str, ...] = ()
    on: str = "engine"
    whole: bool = True
    _attached: list[str] = field(default_factory=list, repr=False)
    _held: dict[str, "_Held"] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return name_of(self.ref)

    @property
    def lasting(self) -> str:
        """Its address and what it calls the base: whoever keeps trials of one server vouches that it goes on serving the same."""
        return f"engine {self.server.url} {self.served}"

    @property
    def kind(self) -> str:
        return self.family.reads

    @property
    def classifies(self) -> bool:
        return False

    @property
    def model_name(self) -> str:
        """What the server calls what answers now."""
        return self._attached[-1] if self._attached else self.served

    def check_fits(self, adapter: Adapter) -> None:
        """Raise MismatchError for what servers do not load; whether the layers fit the server says when it loads them."""
        odd = next((name for name, module in adapter.outlines.items() if module.kind == "conv"), None)
        if adapter.whole or odd is not None:
            what = f"tensors of its own ({next(iter(adapter.whole))})" if adapter.whole else f"a convolution ({odd})"
            raise MismatchError(
                f"{adapter.label}: brings {what}, which an engine does not load. Score it without --engine."
            )

    @contextmanager
    def with_adapter(self, adapter: Adapter | None) -> Iterator["Engine"]:
        """The adapter is loaded on the server while the block runs, and unloaded however that ends, unless it is held."""
        if adapter is None:
            yield self
            return
        held = self._held.get(adapter.digest)
        with self._loaded(adapter) if held is None else held.loaded_by(self._loaded) as name:
            self._attached.append(name)
            try:
                yield self
            finally:
                self._attached.pop()

    @contextmanager
    def holding(self, adapter: Adapter | None) -> Iterator[None]:
        """Loaded when it is first attached, and unloaded when the block ends, however often it is attached in it."""
        if adapter is None:
            yield
            return
        with ExitStack() as loads:
            self._held[adapter.digest] = _Held(adapter, loads)
            try:
                yield
            finally:
                del self._held[adapter.digest]

    @contextmanager
    def _loaded(self, adapter: Adapter) -> Iterator[str]:
        """The adapter on the server, by what it is called there."""
        name = f"tada-{adapter.digest[:12]}-{uuid.uuid4().hex[:8]}"
        home = Path(tempfile.mkdtemp(prefix="engine-", dir=self.folder))
        try:
            home.chmod(0o755)  # a server may run as somebody else
            self.save(adapter, home)
            self.server.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(home)})
            try:
                yield name
            finally:
                # what was found counts; a server refuses what it has evicted by itself, which is gone as well
                with suppress(BaseError):
                    self.server.ask("/v1/unload_lora_adapter", {"lora_name": name})
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def with_head(self, adapter: Adapter | None) -> AbstractContextManager[Any]:
        assert adapter is None, "an engine has no labels, so that nobody lends it a head"
        return nullcontext(self)

    # -- what it is asked ----------------------------------------------------------------------------------------------

    def scoring(self, questions: Sequence[Question], tokens: int) -> Scoring:
        return Scoring(causal.rows_of(self.tokenizer, questions), self._scored)

    def _scored(self, batch: list[Row]) -> Found:
        """Log-likelihoods of the choices behind their questions, a request for each question."""
        prompts = [[row.context + choice for choice in row.choices] for row in batch]
        replies = self._at_once([lambda some=some: self._echoed(some) for some in prompts])  # type: ignore[misc]
        places, loglik, free = [], [], []
        for row, reply in zip(batch, replies, strict=True):
            for number, (choice, each) in enumerate(zip(row.choices, reply, strict=True)):
                span = slice(len(row.context), len(row.context) + len(choice))
                places.append(Place(row.item, number))
                loglik.append(float(sum(each.tokens[span])))
                free.append(all(own >= best for own, best in zip(each.tokens[span], each.best[span], strict=True)))
        return Found(places, torch.tensor(loglik), torch.tensor(free))

    def logliks(self, rows: Sequence[Sequence[int]]) -> Tensor:
        replies = self._at_once([lambda row=row: self._echoed([list(row)]) for row in rows])  # type: ignore[misc]
        found = [sum(reply[0].tokens[1 : len(row)]) for row, reply in zip(rows, replies, strict=True)]
        return torch.tensor(found, dtype=torch.float64)

    def stream(self, prompts: Sequence[Sequence[int]], how: Sampling) -> Iterator[list[str]]:
        """All answers at once, when they are whole."""
        about: dict[str, Any] = {"max_tokens": how.most, "temperature": how.temperature, "seed": how.seed}
        about |= {"stop": list(how.until)} if how.until else {}
        yield self._at_once([lambda row=row: self._written(list(row), about) for row in prompts])  # type: ignore[misc]

    def _written(self, prompt: list[int], about: dict[str, Any]) -> str:
        reply = self._completed({"prompt": prompt, **about}, 1)
        text = reply[0].get("text")
        if not isinstance(text, str):
            raise BaseError(f"{self.server.url}: the engine answered without a text. It must speak /v1/completions.")
        return text

    def _echoed(self, prompts: list[list[int]]) -> "list[Echo]":
        """The log-likelihood of every token of each prompt, and of the likeliest in its place."""
        about = {"prompt": prompts, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return [self._echo(p, choice) for p, choice in zip(prompts, self._completed(about, len(prompts)), strict=True)]

    def _completed(self, about: dict[str, Any], count: int) -> list[dict[str, Any]]:
        reply = self.server.ask("/v1/completions", {"model": self.model_name, **about})
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or len(choices) != count or not all(isinstance(c, dict) for c in choices):
            raise BaseError(f"{self.server.url}: is no server that completes texts ({shown(reply, 200)}).")
        return sorted(choices, key=lambda choice: choice.get("index", 0))

    def _echo(self, prompt: list[int], choice: dict[str, Any]) -> "Echo":
        by_id = choice.get("prompt_logprobs")
        try:
            found = _by_id(prompt, by_id) if isinstance(by_id, list) else _by_place(len(prompt), choice["logprobs"])
            if {len(found.tokens), len(found.best)} != {len(prompt)}:
                raise ValueError(f"{len(found.tokens)} of {len(prompt)} tokens")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BaseError(
                f"{self.server.url}: gave no log-likelihoods of the tokens of a prompt ({shown(error)}). Scoring needs a "
                "server whose /v1/completions obeys echo and logprobs, such as vLLM."
            ) from error
        return found

    def _at_once(self, requests: Sequence[Callable[[], T]]) -> list[T]:
        """What they give, in order, many of them under way; what ends one ends all."""
        pool = ThreadPoolExecutor(min(IN_FLIGHT, max(1, len(requests))), thread_name_prefix="tada-engine")
        try:
            waiting = [pool.submit(request) for request in requests]
            return [one.result() for one in waiting]
        finally:
            pool.shutdown(cancel_futures=True)  # what is under way ends before its adapter is unloaded


@dataclass
class _Held:
    """An adapter that stays on the server once it is there, until ``loads`` is closed. name: what it is called there."""

    adapter: Adapter
    loads: ExitStack
    name: str = ""

    def loaded_by(self, load: Callable[[Adapter], AbstractContextManager[str]]) -> AbstractContextManager[str]:
        self.name = self.name or self.loads.enter_context(load(self.adapter))
        return nullcontext(self.name)


@dataclass(frozen=True)
class Echo:
    """What a server makes of a prompt: the log-likelihood of each token, in nats, and of the likeliest one in its place."""

    tokens: list[float]
    best: list[float]


def _by_id(prompt: Sequence[int], given: Sequence[Any]) -> Echo:
    """From vLLM's ``prompt_logprobs``, which it adds to an echo: token id -> {"logprob": ...} at each place but the first."""
    own = [each[str(token)]["logprob"] for token, each in zip(prompt[1:], given[1:], strict=True)]
    best = [max(one["logprob"] for one in each.values()) for each in given[1:]]
    return Echo([0.0, *map(float, own)], [0.0, *map(float, best)])


def _by_place(length: int, given: dict[str, Any]) -> Echo:
    """From OpenAI's ``logprobs``: two tokens that read alike share a name there, so that its likeliest may be lost."""
    best = [max(each.values()) for each in given["top_logprobs"][1:length]]
    return Echo([0.0, *map(float, given["token_logprobs"][1:length])], [0.0, *best])


def connect(url: str, base: str | None, save: Callable[[Adapter, Path], None], folder: Path | None = None) -> Engine:
    """The base that a server holds. base: a folder or Hub id that has its tokenizer; None: what the server itself names.

    Raises BaseError.
    """
    server = Server.at(url)
    models = server.ask("/v1/models")
    entries = models.get("data") if isinstance(models, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and one.get("id") for one in entries):
        raise BaseError(f"{server.url}: does not list its models under /v1/models; is it an OpenAI-compatible server?")
    bases = [one for one in entries if not one.get("parent")]
    same = bases if base is None else [one for one in bases if _is_called(base, one)]
    if len(same) != 1:
        there = ", ".join(str(one["id"]) for one in bases) or "no model"
        raise BaseError(
            f"{server.url}: holds {there}, and {base or 'one of several'} was asked for. Name the base as the server does, or let "
            "it serve the base under that name (vLLM: --served-model-name)."
        )
    served = same[0]
    ref = base or str(served.get("root") or served["id"])
    if folder is not None and not folder.is_dir():
        raise BaseError(f"--engine-folder {folder}: is no folder. Give one that the engine sees under the same path.")
    return Engine(ref, tokenizer_at(ref), server, str(served["id"]), save, folder or scratch.root())


def _is_called(base: str, served: dict[str, Any]) -> bool:
    """Whether a server's model is the base of this name: as it calls it, or its folder or Hub id by the last part."""
    names = [str(served["id"]), str(served.get("root") or "")]
    return base in names or Path(base).name in {Path(name).name for name in names}
