"""The rows of a comparison by the settings in which they differ, to be weighed and drawn as a sweep's trials are.

A sweep knows what it searched; of runs in a store only what they had is known: a setting's range reaches from the
lowest value to the highest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_cnns.comparing.comparison import Comparison, Row, group_by_data
from keras_cnns.comparing.scored import Group, Scored
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange

FEWEST, MOST = 3, 500
WIDE = 20.0
ENDED = ("finished", "stopped")


def observed_groups(comparison: Comparison) -> list[Group]:
    """Return the rows on the first set of images that ended with a score, a family at a time, the largest first.

    A family of fewer than three, or that differs in nothing that all its rows have, is left out. Of a family with very
    many rows there are some of every rank.
    """
    first = next(iter(group_by_data(comparison.rows)), [])
    rows = [row for row in first if row.status in ENDED and row.value(comparison.score) is not None]
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.run.family, []).append(row)
    groups = [observed(own[:: -(-len(own) // MOST)], comparison.score) for own in families.values()]
    enough = [group for group in groups if group.domains and len(group.trials) >= FEWEST]
    return sorted(enough, key=lambda group: -len(group.trials))


def observed(rows: Sequence[Row], score: str) -> Group:
    """Return rows of one family."""
    settings = [{**row.run.recipe, **row.run.settings} for row in rows]
    shared = [name for name in settings[0] if all(name in of_row for of_row in settings)]
    texts = {name: [of_row[name] for of_row in settings] for name in shared}
    domains = {name: domain_of(found) for name, found in texts.items() if len(set(found)) > 1}
    trials = []
    for number, row in enumerate(rows):
        reached = row.value(score) or 0.0
        trials.append(
            Scored(
                number=number,
                name=row.title,
                family=row.run.family,
                values={
                    name: texts[name][number] if isinstance(domain, Choice) else float(texts[name][number])
                    for name, domain in domains.items()
                },
                score=reached,
                expected=reached,
                stopped=row.status == "stopped",
            )
        )
    return Group(name=rows[0].run.family, domains=domains, own=tuple(domains), trials=tuple(trials))


def domain_of(texts: Sequence[str]) -> Domain:
    """Return what a setting ranges over: from its lowest to its highest number, or the words that it has."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        return Choice(tuple(sorted(set(texts))))
    low, high = min(numbers), max(numbers)
    logarithmic = low > 0 and high / low >= WIDE
    if all(number.is_integer() for number in numbers):
        return IntRange(int(low), int(high), log=logarithmic)
    return FloatRange(low, high, log=logarithmic)
