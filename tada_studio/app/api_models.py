"""What the named endpoints take and answer, field by field: the OpenAPI page and ``view_api`` are made from this."""

from typing import Any, TypeAlias

from gradio import FileData
from pydantic import BaseModel, Field

from tada_studio.app.paths import AllowedPaths

#: A folder or Hub id, or an uploaded zip (``handle_file("adapter.zip")`` in gradio_client).
AdapterRef: TypeAlias = str | FileData


class PairRef(BaseModel):
    """Two adapters and perhaps their base: a sample by name, or a task and a domain adapter."""

    sample: str | None = Field(None, description="an embedded sample by name, instead of the three below")
    task: AdapterRef | None = Field(None, description="task adapter: folder, Hub id or uploaded zip")
    domain: AdapterRef | None = Field(None, description="domain adapter: folder, Hub id or uploaded zip")
    base: str | None = Field(None, description="base model: folder, Hub id or .gguf file; needed to probe and evaluate")


class Items(BaseModel):
    """Evaluation items, JSON Lines with prompt, choices and answer, a file for each side."""

    task: FileData | None = Field(None, description="items of the task")
    domain: FileData | None = Field(None, description="items of the domain")


class SampleInfo(BaseModel):
    """An embedded sample."""

    name: str = Field(description="what to open it by")
    title: str = Field(description="what it is, in a line")
    story: str = Field(description="what is to be seen in it")
    base: str | None = Field(description="its base model")


class PassportInfo(BaseModel):
    """What the files of one adapter say about it."""

    label: str = Field(description="its name")
    facts: dict[str, Any] = Field(description="rank, alpha, modules, base and so on, by name")
    remarks: list[str] = Field(description="what a person should know, in sentences")
    refused: str | None = Field(description="why it cannot be merged; null for all that can")


class PairInfo(BaseModel):
    """Two adapters beside each other."""

    fits: bool = Field(description="whether they can be merged")
    reasons: list[str] = Field(description="why not, in sentences")
    notes: list[str] = Field(description="what to know before merging them")
    task: PassportInfo = Field(description="the task adapter")
    domain: PassportInfo = Field(description="the domain adapter")


class ReadingsInfo(BaseModel):
    """What the two adapters do on inputs: measured once, and then steering every gate."""

    inputs: int = Field(description="how many inputs were read")
    tokens: int = Field(description="their tokens, all together")
    modules: int = Field(description="modules that were read")
    about: dict[str, str] = Field(description="which adapters and which base they belong to")
    files: list[FileData] = Field(description="readings.json and readings.safetensors, to give back as ``readings``")


class GatesInfo(BaseModel):
    """The gate map: 1 takes the domain adapter, 0 the task adapter."""

    layers: list[int] = Field(description="what the rows stand for")
    towers: list[str] = Field(description="the tower of each row; empty text in a base that has one stack of layers")
    projections: list[str] = Field(description="what the columns stand for")
    gates: list[list[float | None]] = Field(description="the gates that the merge uses; null where no module is")
    computed: list[list[float | None]] = Field(description="the same before the recipe's edits")
    probed: bool = Field(description="false without readings: then every computed gate is .5")


class DirectionInfo(BaseModel):
    """One singular direction of one adapter in one module."""

    number: int = Field(description="counts from 0, strongest first")
    strength: float = Field(description="singular value after weighting")
    share: float = Field(description="of the adapter's energy in this module")
    rival: int | None = Field(description="the direction of the other adapter that it opposes most")
    opposed: bool = Field(description="whether it is in conflict")
    dropped: bool = Field(description="whether the merge leaves it out")


class SpectrumInfo(BaseModel):
    """One module closely."""

    task: list[DirectionInfo] = Field(description="directions of the task adapter")
    domain: list[DirectionInfo] = Field(description="directions of the domain adapter")
    spectrum: list[float] = Field(description="singular values of the merged update, largest first")
    kept: list[float] = Field(description="share of the merged energy up to each of them")


class MergeInfo(BaseModel):
    """A merged adapter."""

    file: FileData = Field(description="zip of the PEFT folder, certificate.json and recipe.json in it")
    verdict: str = Field(description='"pass": PEFT loads exactly the merge')
    rank: int = Field(description="of the merged adapter")
    merged_as: str = Field(description="what the merge is: its method, or what that comes to without a probe")
    says: list[str] = Field(description="what was checked, in sentences")
    certificate: dict[str, Any] = Field(description="the whole certificate")


class ReportInfo(BaseModel):
    """A report."""

    file: FileData = Field(description="the page, one HTML file that opens offline")


class ScoreInfo(BaseModel):
    """What one variant scores on one side's items."""

    side: str = Field(description='"task" or "domain"')
    variant: str = Field(description='"base", "task", "domain", "tada" (the merge) and so on')
    accuracy: float | None = Field(description="share of right answers; null for texts")
    low: float | None = Field(description="lower end of its 95 % interval")
    high: float | None = Field(description="upper end of its 95 % interval")
    n: int = Field(description="items")
    nll: float | None = Field(description="mean negative log-likelihood of a token of the right answer")


def adapter_path(ref: AdapterRef | None, what: str, paths: AllowedPaths) -> str:
    """Where an adapter is. Raises InputError."""
    return paths.uploaded(ref.path, what) if isinstance(ref, FileData) else paths.checked(ref, what)
