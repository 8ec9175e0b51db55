"""Every feature of PEFT's LoRA through PEFT's add_weighted_adapter and through TaDA Studio: is the merge [1, 0] the first adapter?

A merger that gives back something else than the adapter it was told to keep is wrong, and nothing says so. Each feature of
``tests/menagerie.py`` is trained (numbers drawn) twice, merged with weights 1 and 0, run, saved and loaded again.

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

from menagerie import FEATURES, TOKENS, Feature, adapter, loaded, model, output  # noqa: E402 - the path above is where it lies

from tada_studio import pipeline  # noqa: E402
from tada_studio.base_model.model import Base  # noqa: E402
from tada_studio.errors import TadaError  # noqa: E402
from tada_studio.pipeline.merge import merge  # noqa: E402
from tada_studio.recipe import Recipe  # noqa: E402

TABLE = ROOT / "docs" / "peft-features.md"
#: Relative error of the outputs below which a merge is the adapter it should be (half precision rounds its own factors).
EXACT = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
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
            inside = said(output(model.eval()), wanted, feature)
        except Exception as error:  # PEFT raises anything from ValueError to AttributeError here
            return [f"refused: {brief(error)}", ""]
        try:
            model.save_pretrained(str(out), selected_adapters=["merged"])
            return [inside, said(output(loaded(out / "merged", feature.classes[0])), wanted, feature)]
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
    inside = said(torch.cat([a.flatten() for a, _ in rows]), torch.cat([b.flatten() for _, b in rows]), feature)
    pipeline.export(merged, out)
    return [inside, said(output(loaded(out, feature.classes[0])), wanted, feature)]


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


def said(found: Tensor, wanted: Tensor, feature: Feature) -> str:
    """ "exact (1e-07)" or "wrong by 13%"."""
    if found.shape != wanted.shape:
        return f"**wrong**: {tuple(found.shape)} instead of {tuple(wanted.shape)}"
    error = float((found.double() - wanted.double()).norm() / wanted.double().norm())
    return (
        f"exact ({error:.0e})"
        if error <= EXACT[feature.dtype]
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


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    heads = ["feature", "PEFT linear", "reloaded", "PEFT svd", "reloaded", "TaDA Studio", "reloaded by PEFT"]
    table = [heads, ["---"] * len(heads), *rows()]
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
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
