"""Take samples in turns, and say what they amount to."""

from __future__ import annotations

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Figure:
    """A median, and the quartiles beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples):
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(statistics.median(samples), low, high)

    @classmethod
    def ratio(cls, ours, peer):
        """The ratio of the medians; beside it the quartiles of the ratios within each round."""
        within = cls.of([mine / other for mine, other in zip(ours, peer, strict=True)])
        return cls(statistics.median(ours) / statistics.median(peer), within.low, within.high)

    @classmethod
    def difference(cls, ours, peer):
        """As :meth:`ratio`, for what adds up."""
        within = cls.of([mine - other for mine, other in zip(ours, peer, strict=True)])
        return cls(statistics.median(ours) - statistics.median(peer), within.low, within.high)


@dataclasses.dataclass(frozen=True)
class Row:
    """One measure: what each contender needed, and the one number that is held against the target.

    :param name: a word for files and for ``--only``.
    :param measure: what was measured.
    :param unit: of the values: ``s``, ``MiB``, or nothing for what is counted.
    :param values: what each contender needed.
    :param peer: whose value counts as 1 (or as 0, where the result is a difference).
    :param result: ours against the peer's, or ours alone where there is no peer.
    :param target: what the result may be at the most; none where the row only informs.
    :param note: why there is no result.
    """

    name: str
    measure: str
    unit: str
    values: dict[str, Figure]
    peer: str | None = None
    result: Figure | None = None
    target: float | None = None
    note: str = ""

    @property
    def met(self):
        """Whether the target is met; ``None`` where there is nothing to tell."""
        return None if self.target is None or self.result is None else self.result.median <= self.target


def compared(name, measure, unit, samples, *, ours="aritma_session", peer, target, by=Figure.ratio):
    """Make the row that holds our samples against a peer's."""
    values = {contender: Figure.of(found) for contender, found in samples.items()}
    return Row(name, measure, unit, values, peer, by(samples[ours], samples[peer]), target)


def counted(name, measure, samples, *, ours="aritma_session", target):
    """Make the row of something that is counted: the worst of our rounds is what counts."""
    values = {
        contender: Figure(statistics.median(found), min(found), max(found)) for contender, found in samples.items()
    }
    worst = max(samples[ours])
    return Row(name, measure, "", values, None, Figure(worst, min(samples[ours]), worst), target)


def in_turns(contenders, rounds, warm_up=1):
    """Take one sample of each contender after the other, round after round: what drifts, drifts for all.

    :param contenders: by name, what gives one sample.
    :param warm_up: how many rounds come first and do not count.
    :returns: the samples by name, in the order of the rounds.
    """
    names = list(contenders)
    samples = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        names = names[1:] + names[:1]
        for name in names if number % 2 else reversed(names):  # nobody always comes after the same neighbour
            sample = contenders[name]()
            if number >= 0:
                samples[name].append(sample)
    return samples
