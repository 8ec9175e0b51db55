"""What an adapter_config.json means: a LoRA whose scales are known, or a sentence about why it cannot be merged.

The config is judged alone, before any tensor: ``judge`` raises for whatever no single LoRA can hold. What depends on the
tensors (rank, targets, layers, which biases and heads there are) is never taken from here.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tada_studio.errors import AdapterError
from tada_studio.files import shown

#: peft_type -> what it is instead of a LoRA. Types that PEFT itself can turn into a LoRA are listed below.
_KINDS = {
    "IA3": "IA3 multiplies activations by trained vectors",
    "PREFIX_TUNING": "prefix tuning trains extra keys and values, no weights",
    "PROMPT_TUNING": "prompt tuning trains input embeddings, no weights",
    "MULTITASK_PROMPT_TUNING": "prompt tuning trains input embeddings, no weights",
    "P_TUNING": "p-tuning trains input embeddings, no weights",
    "CPT": "CPT trains input embeddings, no weights",
    "CARTRIDGE": "a cartridge is a trained key-value cache, no weights",
    "ADAPTION_PROMPT": "adaption prompts are trained inputs of the upper layers, no weights",
    "TRAINABLE_TOKENS": "only token embeddings were trained",
    "LN_TUNING": "only the normalisation layers were trained",
    "ADALORA": "AdaLoRA has a rank and a diagonal of its own for each layer",
    "OFT": "OFT rotates the base weights",
    "BOFT": "BOFT rotates the base weights",
    "HRA": "HRA reflects the base weights",
    "XLORA": "X-LoRA mixes adapters by the input",
    "POLY": "Poly mixes adapters by the task",
    "LOHA": "LoHa multiplies two low-rank products entry by entry",
    "LOKR": "LoKr is a Kronecker product",
    "VERA": "VeRA scales random factors that all layers share",
}
#: Types whose update PEFT's own convert_to_lora approximates by a LoRA. Not DoRA: it takes one, and leaves its magnitudes out.
CONVERTIBLE = ("C3A", "DELORA", "FOURIERFT", "GRALORA", "LOHA", "LOKR", "MISS", "PSOFT", "RANDLORA", "TINYLORA",
                "UNILORA", "VBLORA", "VERA", "WAVEFT")  # fmt: skip
#: The other types of PEFT 0.21.
_OTHER_KINDS = (*CONVERTIBLE, "ADAMSS", "BEFT", "LILY", "FROD", "PVERA", "GLORA", "ROAD", "HIRA", "SHIRA", "OSF", "PEANUT",
                "SHADOW", "SUPERTUNING", "DEFT")  # fmt: skip
_UNKNOWN = "PEFT up to 0.21 has no type of that name, which is misspelled or newer"
_CONVERT = "give its base too (--base): then its best LoRA stands in for it, or convert it with PEFT's convert_to_lora"
_RETRAIN = "train a LoRA on the same data instead"

#: Config fields that change what an adapter means and that a merge into one LoRA cannot honour.
_REFUSED = {
    "kasa_config": "KaSA edits the base weights",
    "trainable_token_indices": "token embeddings were trained beside the LoRA; train with modules_to_save or without them",
    "target_parameters": "it adapts parameters of fused experts (target_parameters); train on linear layers instead",
    "layer_replication": "it repeats layers of the base (layer_replication); train on the base as it is",
    "alora_invocation_tokens": "an activated LoRA depends on the input; no single LoRA can hold it",
    "arrow_config": "Arrow routing depends on the input; no single LoRA can hold it",
    "use_qalora": "QALoRA pools its inputs; no single LoRA can hold it",
    "use_bdlora": "BD-LoRA's factors are block-diagonal; export it as plain LoRA first",
    "monteclora_config": "MonteCLoRA is stochastic; no single LoRA can hold it",
    "loftq_config": "LoftQ changed the base it was trained on; the plain base is another model",
    "megatron_config": "it was trained for Megatron's parallel layers; save it again for plain ones",
    "enable_lora": "it is a MergedLinear of PEFT 0.2 (enable_lora), whose factors cover a part of the layer; train again with PEFT",
}
_INITS_THAT_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def judge(config: Mapping[str, Any], where: str) -> None:
    """Raise AdapterError, in one sentence, unless a config alone allows that its tensors are LoRA we can merge."""
    _check_is_peft(config, where)
    kind = config.get("peft_type", "LORA")
    if str(kind).upper() != "LORA":
        name = shown(str(kind).upper(), 40)
        what = _KINDS.get(name, "its update is no product of two factors" if name in _OTHER_KINDS else _UNKNOWN)
        instead = _CONVERT if name in CONVERTIBLE else _RETRAIN
        raise AdapterError(
            f"{where}: peft_type is {shown(kind, 40)!r}: {what}. TaDA Studio merges LORA adapters only; {instead}."
        )
    for name, sentence in _REFUSED.items():
        if config.get(name):
            raise AdapterError(f"{where}: {name} is set: {sentence}.")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_INITS_THAT_CHANGE_THE_BASE):
        raise AdapterError(
            f"{where}: init_lora_weights = {shown(init, 40)!r} changed the base weights before training, so this adapter fits only "
            "that residual base. Save it with path_initial_model_for_weight_conversion, which makes it plain LoRA."
        )
    _check_numbers(config, where)
    _check_heads(config, where)


def _check_is_peft(config: Mapping[str, Any], where: str) -> None:
    if "peft_type" in config or ("r" in config and ("lora_alpha" in config or "target_modules" in config)):
        return
    if "fine_tune_type" in config or "lora_parameters" in config:
        raise AdapterError(
            f"{where}: is a config of MLX-LM, without its adapters.safetensors beside it. Give the folder with both."
        )
    if {"model_class", "hidden_size"} <= set(config) or "adapter_residual_before_ln" in str(config.get("config", ""))[
        :2000
    ]:
        raise AdapterError(
            f"{where}: is a config of the AdapterHub library; it has no PEFT form. Train a LoRA with PEFT."
        )
    if "model_type" in config or "architectures" in config:
        raise AdapterError(
            f"{where}: is the config of a whole model. Give the folder of a LoRA adapter, and the model as the base."
        )
    names = ", ".join(sorted(shown(name, 30) for name in list(config)[:4])) or "nothing"
    raise AdapterError(
        f"{where}: is no adapter's config: it holds {names}, and neither peft_type nor r. Give the one that PEFT wrote."
    )


def _check_heads(config: Mapping[str, Any], where: str) -> None:
    named = config.get("modules_to_save")
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        raise AdapterError(
            f"{where}: modules_to_save = {shown(named, 40)!r}; it is a list of names. Save the adapter again with PEFT."
        )


def _check_numbers(config: Mapping[str, Any], where: str) -> None:
    rank = config.get("r", 8)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank < 100_000:
        raise AdapterError(
            f"{where}: r = {shown(rank, 40)!r}; a rank is a whole number from 1 up. Save the adapter again with PEFT."
        )
    _check_number(config.get("lora_alpha", 8), "lora_alpha", where)
    for name in ("alpha_pattern", "rank_pattern"):
        patterns = config.get(name) or {}
        if not isinstance(patterns, dict):
            raise AdapterError(f"{where}: {name} must hold names and numbers, found {type(patterns).__name__}.")
        if len(patterns) > 10_000:
            raise AdapterError(
                f"{where}: {name} has {len(patterns):,} entries; a model has no more than a few hundred modules."
            )
        for key in patterns:
            if name == "alpha_pattern":  # ranks are the tensors' own: that pattern is never matched with anything
                pattern_of(key, where)
            _check_number(patterns[key], name, where)


def _check_number(value: Any, name: str, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:  # NaN fails too
        raise AdapterError(
            f"{where}: {name} = {shown(value, 40)!r}; expected a number of ordinary size. Correct it in the config."
        )


def scale_of(config: Mapping[str, Any], where: str) -> Callable[[str, int], tuple[float, float]]:
    """(module name, rank) -> (alpha, scale): alpha / r, or alpha / sqrt(r) with rsLoRA; alpha by ``alpha_pattern``.

    PEFT's rule: the first key, in the order of the file, that matches the end of the module's name.
    """
    patterns = [(pattern_of(key, where), value) for key, value in (config.get("alpha_pattern") or {}).items()]
    plain, root = config.get("lora_alpha", 8), bool(config.get("use_rslora"))

    def scale(name: str, rank: int) -> tuple[float, float]:
        alpha = float(next((value for matches, value in patterns if matches(name)), plain))
        return alpha, alpha / math.sqrt(rank) if root else alpha / rank

    return scale


#: A repeated single character, as names are abbreviated with: two of them cost no more than the cube of a name's length.
_REPEATED = re.compile(r"(?:\.|\\[dw]|\[0-9\]|\[\^\\?\.\])[*+]")


def pattern_of(key: str, where: str) -> Callable[[str], Any]:
    """A key of alpha_pattern as PEFT reads it, a regular expression; only kinds that cannot hang are taken."""
    rest, repeated = _REPEATED.subn("", key)
    if len(key) > 300 or repeated > 2 or re.search(r"[*+{?]", rest):
        raise AdapterError(
            f"{where}: the pattern {shown(key)!r} is more than a name; write module names in alpha_pattern."
        )
    try:
        return re.compile(rf"(?:.*\.)?(?:{key})$").match
    except re.error as error:
        raise AdapterError(f"{where}: the pattern {shown(key)!r} cannot be read ({error}).") from error


def heads_implied(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries of modules_to_save that PEFT adds by itself for a task type, whether the model has such a head or not."""
    of = config.get("task_type")
    return (
        ("classifier", "score") if of in ("SEQ_CLS", "TOKEN_CLS") else ("qa_outputs",) if of == "QUESTION_ANS" else ()
    )


def heads_listed(config: Mapping[str, Any]) -> list[str]:
    """The entries of modules_to_save as they stand there."""
    named = config.get("modules_to_save") or []
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def heads_named(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries of modules_to_save, once each, with those that PEFT saves unasked."""
    return tuple(dict.fromkeys([*heads_listed(config), *heads_implied(config)]))


def text(value: Any) -> str | None:
    """A string of somebody's config as one printable line, or None."""
    return shown(value, 300) if isinstance(value, str) and value else None
