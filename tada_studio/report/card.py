"""The model card of an exported adapter, below the front that the Hub reads: what it is, how to load it, where it came from."""

import re
from collections.abc import Mapping
from typing import Any

from tada_studio.exporting.card import CardFacts
from tada_studio.exporting.portable import VLLM_RANKS
from tada_studio.lora import Adapter
from tada_studio.read.formats import OF_PIPELINE
from tada_studio.read.keys import family
from tada_studio.report.scores import Sides, comparison_sentences, score_table
from tada_studio.report.tables import markdown_table


def model_card(merged: Adapter, origin: Mapping[str, Any], measured: Sides, facts: CardFacts | None = None) -> str:
    """The README.md of an exported adapter, without its front."""
    facts = facts or CardFacts()
    return "\n".join(
        [
            f"# {_plain(merged.label)}",
            "",
            f"One LoRA adapter of rank {merged.rank} for `{_plain(facts.base)}`, merged from two by TaDA Studio.",
            "",
            *_loading(merged, origin, facts),
            *_made_from(origin),
            *_licences(facts),
            *_pictures(facts),
            *_measured(measured),
            "`recipe.json` repeats this merge to the byte; `certificate.json` says how it was checked.",
            "",
        ]
    )


def head_rows(merged: Adapter) -> int | None:
    """How many labels the classifier that an adapter keeps whole tells apart; None if it keeps none."""
    rows = [
        len(t) for name, t in merged.head_tensors.items() if name.rpartition(".")[0] in merged.heads and t.ndim == 2
    ]
    return rows[0] if len(rows) == 1 else None


def head_sentence(merged: Adapter, owners: Mapping[str, str]) -> str:
    """Whose heads an adapter carries and what they answer with; "" if it carries none. owners: head -> "task", ..."""
    if not merged.heads:
        return ""
    whose = " and ".join(sorted({_OWNERS.get(one, one) for one in owners.values()}))
    rows = head_rows(merged)
    labels = f", {rows} labels" if rows else ""
    named = f" ({', '.join(merged.labels[:12])}{', ...' if len(merged.labels) > 12 else ''})" if merged.labels else ""
    return f"Carries {' and '.join(merged.heads)} whole, {whose or 'of an unknown adapter'}{labels}{named}; heads are not gated."


_OWNERS = {"task": "the task adapter's", "domain": "the domain adapter's", "average": "the average of both adapters'"}


def _loading(merged: Adapter, origin: Mapping[str, Any], facts: CardFacts) -> list[str]:
    """How to load it; a head of its own size needs a base that makes room for it."""
    rows = head_rows(merged)
    room = f", num_labels={rows}, ignore_mismatched_sizes=True" if rows and "Classification" in facts.loader else ""
    where = "its name on the Hub, or a folder" if facts.on_hub else "the folder of the base, or its name on the Hub"
    python = [
        "from peft import PeftModel",
        f"from transformers import {facts.loader}",
        "",
        f"base = {_plain(facts.base)!r}  # {where}",
        'adapter = "."  # this folder, or its name on the Hub',
        f"model = {facts.loader}.from_pretrained(base{room})",
        "model = PeftModel.from_pretrained(model, adapter).eval()",
    ]
    sentences = [_plain(head_sentence(merged, origin.get("heads", {})))] if merged.heads else []
    if any(family(name) for name in merged.modules):
        sentences.append("Its modules have the names of transformers 5; transformers 4 does not find them.")
    if any(OF_PIPELINE.match(name) for name in merged.modules):
        return [*_for_diffusers(facts), *(line for sentence in sentences for line in (sentence, ""))]
    return [
        *_code("python", python),
        *(_for_diffusers(facts) if "diffusers" in facts.formats else []),
        *_serving(merged, facts),
        *(line for sentence in sentences for line in (sentence, "")),
    ]


def _serving(merged: Adapter, facts: CardFacts) -> list[str]:
    """The commands of two servers, for what both of them take: a plain LoRA of a model that writes."""
    plain = not merged.whole and all(m.kind == "linear" and m.bias is None for m in merged.outlines.values())
    if not plain or facts.job != "text-generation":
        return []
    base = _plain(facts.base)
    return _code(
        "bash",
        [
            f"vllm serve {base} --enable-lora --max-lora-rank {_room(merged.rank)} --lora-modules merged=.",
            *_for_llama_cpp(base, facts),
        ],
    )


def _for_llama_cpp(base: str, facts: CardFacts) -> list[str]:
    if "gguf" in facts.formats:
        return ["llama-server -m base.gguf --lora adapter_model.gguf  # llama.cpp"]
    return [
        f"python convert_lora_to_gguf.py --base-model-id {base} --outfile merged.gguf .  # llama.cpp's script, then:",
        "llama-server -m base.gguf --lora merged.gguf",
    ]


def _for_diffusers(facts: CardFacts) -> list[str]:
    """How a pipeline loads the file that lies beside; PEFT's folder alone means one module that holds all parts."""
    if "diffusers" not in facts.formats:
        return [
            "Its layers are those of a pipeline of diffusers; `--format diffusers` writes the file that it loads.",
            "",
        ]
    lines = [
        "# pipe: the diffusers pipeline of the base",
        'pipe.load_lora_weights(".", weight_name="pytorch_lora_weights.safetensors")',
    ]
    return _code("python", lines)


def _room(rank: int) -> int:
    return next((most for most in VLLM_RANKS if most >= rank), rank)


def _code(language: str, lines: list[str]) -> list[str]:
    return [f"```{language}", *lines, "```", ""]


def _pictures(facts: CardFacts) -> list[str]:
    """What was dropped, and the gates as pictures: who speaks where, and the mean over depth."""
    says = {
        "gates.png": "Share of the domain adapter (orange) by layer and projection",
        "depth.png": "Its mean by layer",
    }
    images = [f"![{says.get(name, name)}]({name})" for name in facts.pictures]
    lines = [*([facts.dropped, ""] if facts.dropped else []), *(line for image in images for line in (image, ""))]
    return ["## What the merge does", "", *lines] if lines else []


def _licences(facts: CardFacts) -> list[str]:
    """What the parents' own cards say; where they disagree or say nothing, somebody has to look."""
    if not facts.licences:
        return []
    named = [
        f"the {role}{'' if role == 'base' else ' adapter'} {_plain(licence) if licence else 'names none'}"
        for role, licence in facts.licences.items()
    ]
    agree = len(set(facts.licences.values())) == 1 and None not in facts.licences.values()
    licences = f"Licences by their own cards: {', '.join(named)}."
    sentences = [*([] if agree else ["**Check them before you pass this on.**"]), *_forbidding(facts.licences)]
    return [" ".join([licences, *sentences]), ""]


def _forbidding(licences: Mapping[str, str | None]) -> list[str]:
    """What a licence's name already says that may not be done with a merge."""
    words = {role: set(re.split(r"[^a-z]+", (licence or "").lower())) for role, licence in licences.items()}
    none = [role for role, found in words.items() if "nd" in found]
    unpaid = [role for role, found in words.items() if "nc" in found]
    return [
        *([f"**That of the {' and '.join(none)} allows no derivatives, and a merge is one.**"] if none else []),
        *([f"**That of the {' and '.join(unpaid)} allows no commercial use.**"] if unpaid else []),
    ]


def _plain(text: str) -> str:
    """A name from somebody's file as one line that Markdown leaves alone."""
    return "".join(c for c in text if c.isprintable() and c not in "<>`[]|")[:200]


def _made_from(origin: Mapping[str, Any]) -> list[str]:
    inputs = origin.get("inputs", {})
    rows = [
        [role, _plain(inputs[role]["label"]), inputs[role]["content_sha256"][:16]]
        for role in ("task", "domain")
        if role in inputs
    ]
    if not rows:
        return []
    knobs, counted = origin.get("recipe", {}), origin.get("counted", {})
    used = counted.get("knobs", list(knobs))
    shown = [name for name in ("sharpness", "strength", "calibration", "drop") if name in knobs and name in used]
    turned = ", ".join([str(counted.get("as", knobs.get("method"))), *(f"{name} {knobs[name]}" for name in shown)])
    edits = len(knobs.get("overrides", [])) if "overrides" in used else 0
    return [
        "## Made from",
        "",
        markdown_table(["role", "adapter", "content (SHA-256, start)"], rows),
        "",
        *_all_parents(inputs),
        *_vouched(inputs),
        f"Recipe: {turned}; {edits} gate edits by hand.",
        "The method is the TaDA Studio authors' reading of TaDA (arXiv 2606.05016), not the paper's own code.",
        "",
    ]


def _vouched(inputs: Mapping[str, Any]) -> list[str]:
    if inputs.get("same_base") is not True:
        return []
    return ["The adapters name different bases; they were taken for one base on the word of whoever merged them.", ""]


def _all_parents(inputs: Mapping[str, Any]) -> list[str]:
    """Of a merge of merges, every adapter that it goes back to; nothing where both sides were trained."""
    own, parents = {inputs[role]["content_sha256"] for role in ("task", "domain")}, inputs.get("parents", [])
    if all(one["content_sha256"] in own for one in parents):
        return []
    rows = [[_plain(one["label"]), one["content_sha256"][:16], f"{one['weight']:.3g}"] for one in parents]
    table = markdown_table(["trained adapter", "content (SHA-256, start)", "mean weight"], rows)
    return ["A side is itself a merge; all in all this one goes back to:", "", table, ""]


def _measured(measured: Sides) -> list[str]:
    if not measured:
        return ["Nothing was evaluated before this export.", ""]
    note = [f"- {sentence}" for sentence in comparison_sentences(measured)]
    return ["## Measured", "", markdown_table(*score_table(measured)), "", *note, ""]
