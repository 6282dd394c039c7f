"""Which samples train, validate and test, where nobody has said."""

from collections.abc import Sequence

import numpy as np

from fdht.model.data.folders import FOLDS
from fdht.spec.errors import SpecError


def deal(
    strata: np.ndarray,
    groups: np.ndarray | None,
    wanted: Sequence[str],
    fold: int,
    names: Sequence[str],
    hint: str = "",
):
    """Deals samples into 5 folds, shuffled with seed 0: one for each part that is wanted, and the rest trains.

    Without groups each class is dealt by itself. Groups stay whole: where each has one class, the groups of a class are
    dealt; otherwise the largest first, each to the fold that has least of its classes.

    Args:
        strata: class of each sample, B integers from 0; all 0 where there are none.
        groups: what must stay together, B of any kind.
        wanted: parts beside `train`; the first is fold `fold`, the second the next.
        names: of the classes, for errors; empty where there are none.
        hint: what else may be the matter where a class has too few.

    Returns:
        What each sample is for, B words.

    Raises:
        SpecError: no such fold, or fewer samples or groups than parts.
    """
    if not 0 <= fold < FOLDS:
        raise SpecError(f"there is no fold {fold}; folds are 0 to {FOLDS - 1}")
    generator, least = np.random.default_rng(0), len(wanted) + 1
    purposes = ", ".join(["train", *(part.replace("validation", "validate") for part in wanted)])

    def check(count: int, whose: str, what: str) -> None:
        if count < least:
            some = f"{count} {what}{'' if count == 1 else 's'}"
            raise SpecError(f"{whose} has {some}; {least} are needed, one each to {purposes}{hint}")

    units, unit_of = np.arange(len(strata)), np.arange(len(strata))
    if groups is not None:
        units, unit_of = np.unique(groups, return_inverse=True)
    what = "sample" if groups is None else "group"
    counts = np.zeros((len(units), int(strata.max()) + 1))
    np.add.at(counts, (unit_of.ravel(), strata), 1)
    fold_of = np.empty(len(units), dtype=int)
    if ((counts > 0).sum(1) == 1).all():
        for stratum in range(counts.shape[1]):
            own = generator.permutation(np.flatnonzero(counts[:, stratum]))
            check(len(own), f"class {names[stratum]}" if len(names) else "the data set", what)
            fold_of[own] = (np.arange(len(own)) - fold) % min(FOLDS, len(own))
    else:
        check(len(units), "the data set", what)
        folds, order = min(FOLDS, len(units)), generator.permutation(len(units))
        shares, held = counts / np.maximum(counts.sum(0), 1), np.zeros((min(FOLDS, len(units)), counts.shape[1]))
        for unit in sorted(order, key=lambda unit: -counts[unit].sum()):
            chosen = min(range(folds), key=lambda k: (float(held[k] @ shares[unit]), float(held[k].sum()), k))
            held[chosen] += shares[unit]
            fold_of[unit] = (chosen - fold) % folds
    parts = np.array([*wanted, "train"])
    found = parts[np.minimum(fold_of, len(wanted))][unit_of.ravel()]
    missing = np.setdiff1d(strata, strata[found == "train"])
    if len(missing):
        raise SpecError(
            f"class {names[missing[0]]} is in none of the groups that train; say which samples test (x_test, y_test), "
            "or take another --fold"
        )
    return found
