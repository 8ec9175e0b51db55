"""How much one person may use: nothing is limited on a machine of one's own, everything is on a server for strangers.

The one table of limits. Sessions, the app's doors and the API all ask here; what the screen says of limits is made from it.
"""

from dataclasses import dataclass

from tada_studio import zero_gpu
from tada_studio.errors import InputError

MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None: no limit. Everything is for one visitor.

    upload: bytes of one upload; unpacked: bytes that one zip may unfold to; disk: bytes of all that a visitor left here
    sessions: open browser tabs; jobs: long jobs, running and waiting; minutes: of one of them
    calls: requests that are answered or wait at once
    trials: of one search; probe_inputs: of one probe; base_parameters: of a base model, by its files' headers
    rack: adapters that are compared at once
    kept_minutes: how long what nobody uses stays on disk; None: sessions for thirty days
    """

    upload: int | None = None
    unpacked: int | None = None
    disk: int | None = None
    sessions: int | None = None
    jobs: int | None = None
    minutes: float | None = None
    calls: int = 64
    trials: int | None = None
    probe_inputs: int | None = None
    base_parameters: int | None = None
    rack: int | None = None
    kept_minutes: float | None = None

    def check_probe(self, inputs: int) -> None:
        """Raises InputError for more probe inputs than one may run."""
        self._check(inputs, self.probe_inputs, "probe inputs")

    def check_trials(self, trials: int) -> None:
        """Raises InputError for a search of more trials than one may run."""
        self._check(trials, self.trials, "trials")

    def check_rack(self, adapters: int) -> None:
        """Raises InputError for a rack of more adapters than one may compare."""
        self._check(adapters, self.rack, "adapters in one rack")

    def check_disk(self, used: int) -> None:
        """Raises InputError for a visitor whose files here fill the share."""
        if self.disk is not None and used > self.disk:
            raise InputError(
                f"Your files on this server take {used / MB:,.0f} MB, and {self.disk / MB:,.0f} MB are a visitor's share. "
                "Download what you need, then close other tabs of this app or open another pair: both free space."
            )

    def _check(self, count: int, most: int | None, what: str) -> None:
        if most is not None and count > most:
            raise InputError(
                f"{count} {what}: on this public server {most} are the most. Ask for fewer, or run it yourself."
            )

    def in_words(self) -> list[str]:
        """The limits that hold, a short sentence each; [] where none does."""
        rows = [
            (self.upload, lambda n: f"uploads up to {n / MB:,.0f} MB"),
            (self.base_parameters, lambda n: f"base models up to {n / 1e9:g} B parameters"),
            (self.probe_inputs, lambda n: f"{n} probe inputs"),
            (self.trials, lambda n: f"{n} trials a search"),
            (self.rack, lambda n: f"{n} adapters in a rack"),
            (self.minutes, lambda n: f"{n:g} minutes a job"),
            (self.jobs, lambda n: f"{n} jobs running or waiting"),
            (self.disk, lambda n: f"{n / MB:,.0f} MB of files"),
            (self.kept_minutes, lambda n: f"files are deleted when left for {n:g} minutes"),
        ]
        quota = (
            ["a GPU is lent to you for each probe and evaluation, on your own ZeroGPU quota"]
            if zero_gpu.lends()
            else []
        )
        return [*(says(value) for value, says in rows if value is not None), *quota]


#: On a machine of one's own, and for people who signed in.
OWN = Limits()
#: For strangers. Sized for a small Space: 2 cores, 16 GB memory, 50 GB disk.
PUBLIC = Limits(
    upload=200 * MB, unpacked=1000 * MB, disk=1500 * MB, sessions=8, jobs=3, minutes=10.0, calls=48, trials=120,
    probe_inputs=64, base_parameters=3_000_000_000, rack=24, kept_minutes=60.0,
)  # fmt: skip
