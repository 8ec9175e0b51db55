"""Every feature of PEFT's LoRA through PEFT's add_weighted_adapter and through TaDA Studio: is the merge [1, 0] the first adapter?

A merger that gives back something else than the adapter it was told to keep is wrong, and nothing says so. Each feature of
``tests/menagerie.py`` is trained (numbers drawn) twice, merged with weights 1 and 0, run, saved and loaded again. The same for
families of bases and their towers, on the tiny real classes of ``tests/zoo.py``.

    python benchmarks/peft_features.py            writes docs/peft-features.md
"""

import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from foreign import (  # noqa: E402
    FLUX,
    HEADS,
    SD15,
    SDXL,
    XLABS,
    diffusers_file,
    flux_file,
    gguf_file,
    kohya_file,
    of_comfy,
    of_flux,
    of_kohya,
    of_xlabs,
    peft_keys,
    plain_keys,
    processor_keys,
)  # fmt: skip
from menagerie import FEATURES, TOKENS, Feature, adapter, loaded, model, output  # noqa: E402 - the path above is where it lies
from peft import PeftModel  # noqa: E402
from zoo import ZOO, Kind, adapter_folder, answer, model_folder, opened  # noqa: E402

from tada_studio import pipeline  # noqa: E402
from tada_studio.base_model.families import family_of  # noqa: E402
from tada_studio.base_model.model import Base  # noqa: E402
from tada_studio.errors import TadaError  # noqa: E402
from tada_studio.exporting.formats import FILES  # noqa: E402
from tada_studio.lora import Adapter  # noqa: E402
from tada_studio.pipeline.merge import Merge, merge  # noqa: E402
from tada_studio.read import pair_up, read_adapter  # noqa: E402
from tada_studio.recipe import Recipe  # noqa: E402

TABLE = ROOT / "docs" / "peft-features.md"
#: Relative error of the outputs below which a merge is the adapter it should be (half precision rounds its own factors).
EXACT = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
#: One class of each family, those with several towers first.
FAMILIES = ("T5", "BART", "Whisper", "CLIP", "LLaVA, text", "Qwen2-VL, text", "Llama", "BERT", "ViT")
IDENTITY = Recipe(method="gates", overrides=("* : 0",), drop="none", rank=6)


def peft(kind: str) -> Callable[[Path, Path, Path, Feature], list[str]]:
    """[in memory, after reloading] of ``add_weighted_adapter(weights=[1, 0], combination_type=kind)``."""

    def run(task: Path, domain: Path, out: Path, feature: Feature) -> list[str]:
        wanted = output(loaded(task, feature.classes[0]))
        try:
            model = loaded(task, feature.classes[0])
            model.load_adapter(str(domain), "domain")
            model.add_weighted_adapter(["default", "domain"], [1.0, 0.0], "merged", combination_type=kind)
            model.set_adapter("merged")
            inside = said(output(model.eval()), wanted, feature.dtype)
        except Exception as error:  # PEFT raises anything from ValueError to AttributeError here
            return [f"refused: {brief(error)}", ""]
        try:
            model.save_pretrained(str(out), selected_adapters=["merged"])
            return [inside, said(output(loaded(out / "merged", feature.classes[0])), wanted, feature.dtype)]
        except Exception as error:
            return [inside, f"**cannot be loaded**: {brief(error)}"]

    return run


def ours(task: Path, domain: Path, out: Path, feature: Feature) -> list[str]:
    """[in memory, after reloading by PEFT] of the task alone, as a merge with every gate at 0."""
    try:
        pair = pipeline.read_pair(task, domain)
    except TadaError:
        return (
            approximated(task, domain, out)
            if feature.config.get("use_dora")
            else [f"refused in words ({feature.ours})", ""]
        )
    wanted, merged = output(loaded(task, feature.classes[0])), merge(pair, recipe=IDENTITY)
    rows = [(module.delta(), pair.task.modules[name].delta()) for name, module in merged.modules.items()]
    inside = said(torch.cat([a.flatten() for a, _ in rows]), torch.cat([b.flatten() for _, b in rows]), feature.dtype)
    pipeline.export(merged, out)
    return [inside, said(output(loaded(out, feature.classes[0])), wanted, feature.dtype)]


def approximated(task: Path, domain: Path, out: Path) -> list[str]:
    """DoRA with its base: what its own passport says is lost at its own rank, and the outputs of PEFT; then at full rank."""
    base, cells = Base("menagerie", model(), None, "menagerie"), []
    wanted = output(loaded(task))
    for rank, recipe in ((None, IDENTITY.but(rank=4)), (TOKENS, IDENTITY.but(rank=TOKENS))):
        pair = pipeline.read_pair(task, domain, base=base, dora_rank=rank)
        pipeline.export(merge(pair, recipe=recipe), out)
        error = float((output(loaded(out)) - wanted).norm() / wanted.norm())
        assert pair.task.stands_for is not None
        cells.append(
            f"{'at its own rank' if rank is None else 'at full rank'} {pair.task.stands_for.lost:.0e}, outputs off by {error:.0e}"
        )
    return [
        "refused in words without its base; with it the best LoRA, its residual measured and said",
        "; ".join(cells),
    ]


def said(found: Tensor, wanted: Tensor, dtype: torch.dtype = torch.float32) -> str:
    """ "exact (1e-07)" or "wrong by 13%"."""
    if found.shape != wanted.shape:
        return f"**wrong**: {tuple(found.shape)} instead of {tuple(wanted.shape)}"
    error = float((found.double() - wanted.double()).norm() / wanted.double().norm())
    return (
        f"exact ({error:.0e})"
        if error <= EXACT[dtype]
        else f"**wrong by {error:.0%}**"
        if error > 0.005
        else f"**wrong by {error:.0e}**"
    )


def brief(error: Exception) -> str:
    """The first line of what PEFT said, without paths."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "").replace("|", "/")
    return f"{type(error).__name__} {line[:60]}".strip()


def rows() -> list[list[str]]:
    """One row a feature: its name, PEFT's linear and svd, ours; each in memory and after reloading."""
    found = []
    for name, feature in FEATURES.items():
        with tempfile.TemporaryDirectory() as home:
            task, domain = (
                adapter(Path(home) / role, feature, seed, size)
                for role, seed, size in zip(("task", "domain"), (1, 2), feature.classes, strict=True)
            )
            cells = [
                cell
                for i, run in enumerate((peft("linear"), peft("svd"), ours))
                for cell in run(task, domain, Path(home) / f"out{i}", feature)
            ]
        found.append([name, *cells])
        print(" | ".join(found[-1]), flush=True)
    return found


def family_rows() -> list[list[str]]:
    """One row a class: its family, its towers, PEFT's linear and ours; each in memory and after reloading."""
    found = []
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as home:
            base = model_folder(Path(home) / "base", ZOO[name])
            task, domain = (
                adapter_folder(Path(home) / role, ZOO[name], base, targets, seed)
                for role, targets, seed in (("task", ZOO[name].task, 1), ("domain", ZOO[name].domain, 2))
            )
            found.append([name, *family_cells(ZOO[name], base, task, domain, Path(home))])
        print(" | ".join(found[-1]), flush=True)
    return found


#: Other programs' files: name -> what writes one there and returns the dense updates that it means.
FORMATS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "kohya, Stable Diffusion 1.5": lambda folder: kohya_file(folder / "a.safetensors", SD15),
    "kohya, SDXL": lambda folder: kohya_file(folder / "a.safetensors", SDXL),
    "kohya, Flux.1": lambda folder: flux_file(folder / "a.safetensors", of_kohya, FLUX),
    "ComfyUI, Flux.1": lambda folder: flux_file(folder / "a.safetensors", of_comfy, FLUX),
    "Flux.1's own code": lambda folder: flux_file(folder / "a.safetensors", of_flux, FLUX, None),
    "XLabs, Flux.1": lambda folder: flux_file(folder / "a.safetensors", of_xlabs, XLABS, None),
    "diffusers, PEFT's keys": lambda folder: diffusers_file(folder / "a.safetensors", peft_keys),
    "diffusers, lora.down and lora.up": lambda folder: diffusers_file(folder / "a.safetensors", plain_keys),
    "diffusers, attention processors": lambda folder: diffusers_file(folder / "a.safetensors", processor_keys),
    "llama.cpp (GGUF), Llama": lambda folder: gguf_file(folder / "a.gguf", "llama", 5.0),
    "llama.cpp (GGUF), Qwen 2": lambda folder: gguf_file(folder / "a.gguf", "qwen2", 3.0),
}


def format_rows() -> list[list[str]]:
    """One row a format: its name, the relative error of all updates as read, as merged with weights 1 and 0, and of that merge as
    diffusers' file, read back.
    """
    found = []
    for name, write in FORMATS.items():
        with tempfile.TemporaryDirectory() as home:
            folders = [Path(home) / role for role in ("task", "domain")]
            for folder in folders:
                folder.mkdir()
            wanted, _ = (write(folder) for folder in folders)
            read = [read_adapter(folder, heads=HEADS) for folder in folders]
            merged = merge(pair_up(*read), recipe=IDENTITY)
            out = "" if name.startswith("llama.cpp") else of_updates(written_out(merged, Path(home) / "out"), wanted)
        found.append([name, *(of_updates(one, wanted) for one in (read[0], merged)), out])
        print(" | ".join(found[-1]), flush=True)
    return found


def written_out(merged: Adapter, out: Path) -> Adapter:
    """The merge as diffusers' file says it."""
    pipeline.export(merged, out, formats=["diffusers"])
    return read_adapter(out / FILES["diffusers"])


def family_cells(kind: Kind, base: Path, task: Path, domain: Path, home: Path) -> list[str]:
    """The cells of one class."""
    wanted = answer(PeftModel.from_pretrained(opened(kind, base), str(task)).eval(), kind)
    pair = pipeline.read_pair(task, domain, base=base)
    # a module that only the domain changes would stay as it is: what nobody merges with is left whole
    alone = IDENTITY.but(overrides=(*IDENTITY.overrides, "* : domain x 0"))
    certificate = pipeline.export(merge(pair, recipe=alone), home / "ours")
    reloaded = answer(PeftModel.from_pretrained(opened(kind, base), str(home / "ours")).eval(), kind)
    towers = ", ".join(filter(None, Merge(pair).gates.by_tower)) or "one"
    family = family_of({**kind.config().to_dict(), "architectures": [kind.model.__name__]}).name
    passed = "pass" if certificate.holds else "fail"
    return [family, towers, *peft_linear(kind, base, task, domain, home, wanted), said(reloaded, wanted), passed]


def peft_linear(kind: Kind, base: Path, task: Path, domain: Path, home: Path, wanted: Tensor) -> list[str]:
    """[in memory, after reloading] of PEFT's own merge [1, 0] on the real class."""
    try:
        both = PeftModel.from_pretrained(opened(kind, base), str(task), adapter_name="task")
        both.load_adapter(str(domain), "domain")
        both.add_weighted_adapter(["task", "domain"], [1.0, 0.0], "merged", combination_type="linear")
        both.set_adapter("merged")
        inside = said(answer(both.eval(), kind), wanted)
        both.save_pretrained(str(home / "peft"), selected_adapters=["merged"])
        again = PeftModel.from_pretrained(opened(kind, base), str(home / "peft" / "merged"))
        return [inside, said(answer(again.eval(), kind), wanted)]
    except Exception as error:  # PEFT raises anything here
        return [f"refused: {brief(error)}", ""]


def of_updates(found: Adapter, wanted: dict[str, Tensor]) -> str:
    """ "exact (1e-16)" or "wrong by 13%", of all updates together."""
    ours, theirs = (torch.cat([one[name].flatten() for name in wanted]) for one in (
        {name: module.delta() for name, module in found.modules.items()}, wanted))  # fmt: skip
    error = float((ours - theirs).norm() / theirs.norm())
    return f"exact ({error:.0e})" if error <= EXACT[torch.float32] else f"**wrong by {error:.0e}**"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    heads = ["feature", "PEFT linear", "reloaded", "PEFT svd", "reloaded", "TaDA Studio", "reloaded by PEFT"]
    table = [heads, ["---"] * len(heads), *rows()]
    heads = ["class", "family", "towers", "PEFT linear", "reloaded", "TaDA Studio, reloaded by PEFT", "certificate"]
    families = [heads, ["---"] * len(heads), *family_rows()]
    formats = [["format", "read", "merged", "diffusers' file"], ["---"] * 4, *format_rows()]
    peft_version, torch_version = version("peft"), version("torch").split("+")[0]
    made = f"`python benchmarks/peft_features.py` with PEFT {peft_version} and torch {torch_version}, on the CPU."
    lines = [
        "# What merging does to every feature of PEFT's LoRA",
        "",
        made,
        "",
        "Two adapters of a tiny model are merged with weights 1 and 0, so the result must be the first adapter. Shown is the",
        "relative error of the model's outputs, in memory and after the merge was saved and loaded again (ours in memory: of all",
        "updates, before any model). In bfloat16 and float16 ours is rounded once to the adapters' own format; PEFT works on a",
        "float32 copy. Numbers depend on how large the drawn adapters are; whether a cell is exact does not.",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        "## Families of bases, and their towers",
        "",
        "The same on tiny models of transformers' real classes, with two adapters that do not target quite the same modules. A",
        "tower is a stack of layers with a map of its own. The certificate is the export's: PEFT loads every key there.",
        "",
        *("| " + " | ".join(row) + " |" for row in families),
        "",
        "## Files of other programs",
        "",
        "Each is written as that program writes it, with an alpha for each module where the format has one. Shown is the relative",
        "error of all updates beside a dense float64 computation: as read, as merged with another one by weights 1 and 0, and as",
        "that merge is written with `--format diffusers` and read back.",
        "",
        *("| " + " | ".join(row) + " |" for row in formats),
        "",
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
