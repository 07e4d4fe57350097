"""The rows of a comparison as groups of scored trials, for hyperparameter importance and the plots of settings.

The search space of runs in a store is not known. The domain of a setting covers the values that the rows have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_cnns.comparing.comparison import Comparison, group_by_data
from keras_cnns.comparing.rows import Row
from keras_cnns.comparing.scored_trials import ScoredTrial, TrialGroup
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange

MIN_ROWS, MAX_ROWS = 3, 500  # of a family
LOGARITHMIC_RATIO = 20.0  # of the highest to the lowest value


def group_rows(comparison: Comparison) -> list[TrialGroup]:
    """Group the finished rows on the first set of images by family, the largest family first.

    Families with fewer than three rows, or whose rows differ in no setting that all of them have, are omitted. A family
    with very many rows is sampled evenly over its ranks.
    """
    first = next(iter(group_by_data(comparison.rows)), [])
    families: dict[str, list[Row]] = {}
    for row in first:
        if row.status in ("finished", "stopped") and row.value(comparison.score) is not None:
            families.setdefault(row.run.family, []).append(row)
    groups = [make_group(rows[:: -(-len(rows) // MAX_ROWS)], comparison.score) for rows in families.values()]
    large_enough = [group for group in groups if group.domains and len(group.trials) >= MIN_ROWS]
    return sorted(large_enough, key=lambda group: -len(group.trials))


def make_group(rows: Sequence[Row], metric: str) -> TrialGroup:
    """Return the rows of one family as a group."""
    settings = [{**row.run.recipe, **row.run.settings} for row in rows]
    shared = [name for name in settings[0] if all(name in values for values in settings)]
    texts = {name: [values[name] for values in settings] for name in shared}
    domains = {name: infer_domain(found) for name, found in texts.items() if len(set(found)) > 1}
    trials = []
    for number, row in enumerate(rows):
        score = row.value(metric) or 0.0
        values = {
            name: texts[name][number] if isinstance(domain, Choice) else float(texts[name][number])
            for name, domain in domains.items()
        }
        trial = ScoredTrial(
            number=number,
            name=row.title,
            family=row.run.family,
            values=values,
            score=score,
            projected_score=score,
            stopped=row.status == "stopped",
        )
        trials.append(trial)
    return TrialGroup(name=rows[0].run.family, domains=domains, own_settings=tuple(domains), trials=tuple(trials))


def infer_domain(texts: Sequence[str]) -> Domain:
    """Return the domain of a setting: the range of its values if all are finite numbers, else a choice."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        return Choice(tuple(sorted(set(texts))))
    low, high = min(numbers), max(numbers)
    logarithmic = low > 0 and high / low >= LOGARITHMIC_RATIO
    if all(number.is_integer() for number in numbers):
        return IntRange(int(low), int(high), log=logarithmic)
    return FloatRange(low, high, log=logarithmic)
