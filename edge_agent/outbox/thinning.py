"""An hour's events of a series become one, so that a long outage needs a quarter of the space and no energy is lost. Pure.

Which type is summed, averaged or kept as its last is not known here: the caller hands the rules in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from edge_agent.model.events import Merging, QueueRules

HOUR_S = 3600

Row = tuple[int, int, int, float]  # seq, series, instant, value, as in the queue's table


class Thinned(NamedTuple):
    """What becomes of the rows: those that stay with another instant and value, and the seqs of those that are in them now."""

    changed: list[Row]
    gone: list[int]


def thinned(rows: Iterable[Row], types: Mapping[int, str], rules: QueueRules) -> Thinned:
    """Merges the rows of each series and hour into the last of them. `types`: the event type of each series.

    An interval dated by its end belongs to the hour that it ends in; the merged event is dated by the last end, or the first start.
    """
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        kind = types[row[1]]
        if kind in rules.merged:
            hour = (row[2] if kind in rules.at_start else row[2] - 1) // HOUR_S
            groups.setdefault((row[1], hour), []).append(row)
    result = Thinned([], [])
    for group in groups.values():
        kind = types[group[0][1]]
        one = _one(sorted(group), rules.merged[kind], kind in rules.at_start)
        if len(group) > 1 and math.isfinite(one[3]):
            result.changed.append(one)
            result.gone.extend(row[0] for row in sorted(group)[:-1])
    return result


def _one(group: Sequence[Row], merging: Merging, at_start: bool) -> Row:
    seq, series, _, last = group[-1]
    instants = [row[2] for row in group]
    at = min(instants) if at_start else max(instants)
    if merging == "last":
        last = max(group, key=lambda row: row[2])[3]
        return seq, series, at, last
    total = sum(Decimal(repr(row[3])) for row in group)  # as the cloud would add up what it is sent: exact, unlike binary fractions
    return seq, series, at, round(float(total / len(group)), 3) if merging == "mean" else float(total)
