"""Every error a person can act on, as one tree.

    TadaError
      AdapterError    an adapter's files are not what PEFT LoRA files are, or ask for what a merge cannot do
        PickledError    its weights are a pickle, and nobody said that it may be read
      MismatchError   two things that must belong together do not (adapters, base, readings)
        OtherBaseError  two adapters name different bases, and nobody vouches that these are one
      RecipeError     a knob, a selector line or a recipe file
      InputError      probe inputs or evaluation items
      BaseError       the base model cannot be found, reached or run
      ExportError     writing or certifying the result failed
      Stopped         the person asked to stop; not a failure

Wording rule: one sentence or two that say *where* (file, module, line), *what* was found, and *what would work*.
Every door prints the message as it stands; anything that is not a TadaError is our bug and keeps its traceback.
"""

#: No sentence is longer; of a longer one the beginning says where, and the end what would work.
LONGEST, _END = 800, 240


class TadaError(Exception):
    """Base of all errors whose message is meant for the person at the screen.

    Whatever of strangers' files is quoted in it: it is one line without control characters, and no longer than a person reads.

    in_place: set where the screen says it beside what it is about, so that it need not pop up as well
    """

    in_place = False

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > LONGEST:
            text = f"{text[: LONGEST - _END]} ... {text[-_END:]}"
        return (
            text if text.isprintable() else "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
        )


class AdapterError(TadaError):
    """An adapter's files cannot be used."""


class PickledError(AdapterError):
    """An adapter's weights are a pickle; whoever trusts where it comes from may say so."""


class MismatchError(TadaError):
    """Two inputs that must belong together do not."""


class OtherBaseError(MismatchError):
    """Two adapters name different bases; whoever knows that these are one model may say so."""


class RecipeError(TadaError):
    """A knob, a selector line or a recipe file is wrong."""


class InputError(TadaError):
    """Probe inputs or evaluation items are wrong."""


class BaseError(TadaError):
    """The base model cannot be found, reached or run."""


class ExportError(TadaError):
    """Writing or certifying the merged adapter failed."""


class Stopped(TadaError):
    """The person asked to stop; what was there before is intact."""
