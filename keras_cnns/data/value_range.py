"""The range of the pixel values of a source: what becomes 0 and 255 where values are not of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_cnns.errors import DataError

DEPTHS = (8, 10, 12, 14, 15, 16)
"""The bits of grey values that devices use."""
LIMITS = np.array([1, *(2**bits - 1 for bits in DEPTHS)])
FITTED_SPLITS = ("train", "validation")
RARE = 1e-4
TOLERANCE = 1.1
MIN_LEVELS = 17
DARK = 32
HINT = "say which values are black and white with --value-range LOW HIGH (value_range=(LOW, HIGH))"


@dataclass(frozen=True)
class ValueRange:
    """The values that become 0 and 255.

    Attributes:
        low: The value that becomes 0.
        high: The value that becomes 255.
    """

    low: float
    high: float

    @property
    def bits(self) -> int | None:
        """The depth whose full range it is; None if it is another range."""
        return next((bits for bits in DEPTHS if (self.low, self.high) == (0, 2**bits - 1)), None)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Convert values to uint8, rounding them and clipping those beyond the range."""
        if (self.low, self.high) == (0, 255) and values.dtype.kind in "iu":
            return np.asarray(values.clip(0, 255), np.uint8)
        scaled = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.asarray(np.rint(scaled.clip(0, 255)), np.uint8)

    def count_beyond(self, values: np.ndarray) -> int:
        """Count the values that are clipped."""
        return int(((values < self.low) | (values > self.high)).sum())


@dataclass(frozen=True)
class Values:
    """What is known about many values.

    Attributes:
        count: Their number.
        low: The lowest.
        high: The highest.
        negative: The number of negative values.
        above: The number of values above each of `LIMITS`.
        whole: Whether all are whole numbers.
        images: The number of images.
    """

    count: int = 0
    low: float = np.inf
    high: float = -np.inf
    negative: int = 0
    above: tuple[int, ...] = field(default=(0,) * len(LIMITS))
    whole: bool = True
    images: int = 0

    @classmethod
    def of(cls, values: np.ndarray, images: int = 1) -> Values:
        """Summarise the values of images."""
        high = float(values.max())
        return cls(
            count=values.size,
            low=float(values.min()),
            high=high,
            negative=int((values < 0).sum()) if values.dtype.kind != "u" else 0,
            above=tuple(int((values > limit).sum()) if high > limit else 0 for limit in LIMITS.tolist()),
            whole=values.dtype.kind in "iub" or bool((values == np.rint(values)).all()),
            images=images,
        )

    def __add__(self, other: Values) -> Values:
        return Values(
            self.count + other.count,
            min(self.low, other.low),
            max(self.high, other.high),
            self.negative + other.negative,
            tuple(np.add(self.above, other.above).tolist()),
            self.whole and other.whole,
            self.images + other.images,
        )

    @property
    def range(self) -> ValueRange:
        """The range from the lowest to the highest value; from the lowest on if all are equal."""
        return ValueRange(self.low, self.high if self.high > self.low else self.low + 1)

    def is_rare(self, count: int) -> bool:
        """Return whether so few of the values can be errors, such as a hot pixel or a rounding error."""
        return count <= max(RARE * self.count, min(2, self.count / 100))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def find_range(values: Values, where: str) -> ValueRange:
    """Return the range that values were probably saved for: 0 to 1, or the full range of a depth of 8 to 16 bits.

    A few values slightly beyond it do not change it.

    Args:
        values: The values of all images of one kind of file.
        where: What they are, for error messages.

    Raises:
        DataError: There is no such range, or two are possible.
    """
    if values.negative and not (values.is_rare(values.negative) and values.low >= -0.1 * values.high):
        raise DataError(f"{where}: values range from {values}; {HINT}.")
    exact = next((index for index, above in enumerate(values.above) if not above), None)
    likely = next((index for index, above in enumerate(values.above) if values.is_rare(above)), len(LIMITS))
    if likely == 0 and values.whole and values.high > 1:  # whole numbers that are nearly all 0 or 1
        likely = next((index for index in range(1, len(LIMITS)) if values.high <= LIMITS[index]), len(LIMITS) - 1)
    if likely >= (len(LIMITS) if values.whole else 2):
        raise DataError(f"{where}: values range from {values}; {HINT}.")
    if likely != exact and values.high > TOLERANCE * LIMITS[likely]:
        raise DataError(
            f"{where}: values reach {values.high:g}, but all except {values.above[likely]} are at most "
            f"{LIMITS[likely]}; {choices(likely, exact)}."
        )
    return ValueRange(0, float(LIMITS[likely]))


def choices(likely: int, exact: int | None) -> str:
    """Describe the options for two possible limits."""
    if likely == 0 or exact is None:
        return f"{HINT}, such as --value-range 0 {LIMITS[likely]}"
    first, second = (DEPTHS[index - 1] for index in (likely, exact))
    return f"say which with --bits {first} (bits={first}) or --bits {second} (bits={second})"


@dataclass(frozen=True, kw_only=True)
class RangeOptions:
    """How the range of values that are not of 8 bits is chosen.

    Attributes:
        bits: The depth that the user chose, or None.
        value_range: The range that the user chose, or None.
        known: The range of each kind of file that a network was trained with.
        problems: A list for the messages of ranges that are ambiguous, which are then from the lowest to the highest
            value; None if they are errors.
    """

    bits: int | None = None
    value_range: tuple[float, float] | None = None
    known: Mapping[str, ValueRange] = field(default_factory=dict)
    problems: list[str] | None = None

    def __post_init__(self) -> None:
        check_range(self.bits, self.value_range)


def choose_range(
    kind: str, by_split: Mapping[str, Values], options: RangeOptions, known: ValueRange | None
) -> ValueRange:
    """Return the range of one kind of file or of arrays, from training and validation values only.

    Args:
        kind: The kind of file, for error messages.
        by_split: The values of each split. If there are no training and validation images, all images decide.
        options: What the user chose.
        known: The range of this kind of file that a network was trained with; used if all values are in it.

    Raises:
        DataError: The range is ambiguous, or splits have different ranges.
    """
    if options.value_range is not None:
        return ValueRange(*map(float, options.value_range))
    if options.bits is not None:
        return ValueRange(0, float(2**options.bits - 1))
    total = sum(by_split.values(), Values())
    if known is not None and known.low <= total.low and total.high <= known.high:
        return known
    try:
        return fit_range(kind, by_split)
    except DataError as error:
        if options.problems is None:
            raise
        options.problems.append(str(error))
        return total.range


def fit_range(kind: str, by_split: Mapping[str, Values]) -> ValueRange:
    """Return the range of training and validation values that those of all splits fit; errors as in `choose_range`."""
    fitted = [values for split, values in by_split.items() if split in FITTED_SPLITS]
    found = find_range(sum(fitted or by_split.values(), Values()), kind)
    for split, values in by_split.items():
        if (values.high > 0 or values.low < 0) and is_other_range(values, found):
            ranges = ", ".join(f"{name} {each}" for name, each in by_split.items())
            raise DataError(
                f"{kind}: the {split} values have another range than those of other splits ({ranges}); save them "
                f"alike, or say which range is right with --value-range or --bits (value_range, bits)."
            )
    return found


def is_other_range(values: Values, found: ValueRange) -> bool:
    """Return whether many values are beyond a range, or all values are as if saved for a much smaller one."""
    limit = LIMITS.tolist().index(int(found.high))
    if values.negative and not values.is_rare(values.negative):
        return True
    if not values.is_rare(values.above[limit]) or values.high > TOLERANCE * found.high:
        return True
    return values.high <= (1 if found.high <= LIMITS[2] else LIMITS[1]) < found.high


def check_range(bits: int | None, value_range: tuple[float, float] | None) -> None:
    """Raise a `DataError` if a depth or a range that the user chose is not possible."""
    if bits is not None and not 1 <= bits <= 32:
        raise DataError(f"{bits} bits are not possible; use 8 to 16, such as --bits 12 (bits=12).")
    if value_range is not None and not value_range[0] < value_range[1]:
        low, high = value_range
        raise DataError(f"a value range from {low:g} to {high:g} is not possible; write the lower value first.")
    if bits is not None and value_range is not None:
        raise DataError("bits and a value range say the same; give one of them.")


def range_notes(kind: str, values: Mapping[str, Values], chosen: ValueRange, beyond: Mapping[str, int]) -> list[str]:
    """Return notes on the range of one kind of file or of arrays, and on the values beyond it in each split."""
    total = sum(values.values(), Values())
    prefix = f"{kind} ({total.images:,} images)"
    if chosen.bits == 8:
        note = f"{prefix}: 8-bit values (0 to 255), which are kept."
    elif chosen.bits is not None:
        note = f"{prefix}: {chosen.bits}-bit values (0 to {chosen.high:g}) were scaled to 0 to 255."
    elif (chosen.low, chosen.high) == (0, 1):
        note = f"{prefix}: pixels of 0 to 1 were multiplied by 255."
    else:
        note = f"{prefix}: values of {chosen} were scaled to 0 to 255."
    notes = [note]
    depth = LIMITS.tolist().index(int(chosen.high)) if chosen.bits is not None and chosen.bits > DEPTHS[0] else 0
    smaller = [f"{split} ({each})" for split, each in values.items() if depth and each.high <= LIMITS[depth - 1]]
    if smaller and len(smaller) < len(values):
        notes.append(
            f"{kind}: all values are in a smaller range in {', '.join(smaller)}; check the depth of these files."
        )
    clipped = {split: count for split, count in beyond.items() if count}
    if clipped:
        counts = ", ".join(f"{count:,} in {split} (from {values[split]})" for split, count in clipped.items())
        notes.append(f"{kind}: values beyond {chosen} were clipped: {counts}.")
    return notes


def level_notes(images: np.ndarray, *, scaled: bool, split: str = "train") -> list[str]:
    """Return a note if images use so few grey levels that their range was probably misread or is lost.

    Args:
        images: Images of a split, shape (images, height, width, channels), uint8.
        scaled: Whether their values were scaled; others are only reported if they are nearly black.
        split: The name of the split.
    """
    counts = np.zeros(256, np.int64)
    for image in np.asarray(images)[:: max(1, len(images) // 500)]:
        counts += np.bincount(image.ravel(), minlength=256)
        if np.count_nonzero(counts) >= MIN_LEVELS:
            return []
    used = np.flatnonzero(counts)
    if 1 < len(used) < MIN_LEVELS and (used[-1] < DARK or (scaled and len(used) > 2)):
        levels = f"{len(used)} of 256 grey levels, {used[0]} to {used[-1]}"
        name = "training" if split == "train" else split
        return [f"The {name} images use only {levels}: if the files have more, use --bits or --value-range."]
    return []
