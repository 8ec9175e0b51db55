"""What a probe was fed with, in words: which inputs it lacks, and whether the two kinds are different enough."""

from tada_studio.core.gates import Readings
from tada_studio.core.separation import distinguishable

#: Below the first the two kinds of inputs hardly differ, above the second they clearly do. Two halves of 16 inputs of one kind
#: differ by .15 to .28 in the samples, by .36 to .43 where inputs are a few words long (the domain's of the language samples), and
#: task against domain inputs, 32 of each, by .30 to .50: so no more than a hint.
HARDLY, CLEARLY = 0.15, 0.25
#: What a probe of task inputs adds.
ABOUT_TASK_INPUTS = (
    "About 32 prompts of the task, as they come in use and without answers, would let each adapter be silent "
    "on the other's inputs."
)


def inputs_sentence(readings: Readings) -> str:
    """Whether these readings can separate the two adapters, and which towers of the base no input ran."""
    return f"{_apart(readings)} {unread_sentence(readings)}".strip()


def unread_sentence(readings: Readings) -> str:
    """The towers in which no input ran any module (texts do not run a vision tower); empty where there is none."""
    reached: dict[str, bool] = {}
    reacts = ((readings.task + readings.domain).sum(1) > 0) | ~readings.present.any(1)
    for place, reacted in zip(readings.addresses.values(), reacts.tolist(), strict=True):
        reached[place.tower] = reached.get(place.tower, False) or reacted
    silent = [tower for tower, reacted in reached.items() if tower and not reacted]
    return f"No input ran the {' or the '.join(silent)}, so that its computed gates are even." if silent else ""


def _apart(readings: Readings) -> str:
    """Whether these readings can separate the two adapters: what they lack, or how different the two kinds of inputs are."""
    if readings.moments is None:
        return f"Only domain inputs were read. {ABOUT_TASK_INPUTS}"
    ran = (readings.moments.task + readings.moments.domain).flatten(1).any(1)
    apart = float(distinguishable(readings.moments)[ran].nanmedian())
    how = "hardly" if apart < HARDLY else "clearly" if apart > CLEARLY else "somewhat"
    equal = readings.about.get("equal_inputs", "")
    lines = f"{equal} task inputs are also domain inputs" if equal and not equal.startswith("0 ") else ""
    advice = " Give inputs that are as different as they are in use." if how == "hardly" or lines else ""
    start = f"{lines}; the" if lines else "The"
    return f"{start} two kinds of inputs are {how} told apart by the adapters' codes ({apart:.2f} of 1).{advice}"
