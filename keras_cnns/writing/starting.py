"""Phrases about the weights that training began with, and about what was fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keras_cnns.networks.recipe import FEATURES, NOTHING, PROBE
from keras_cnns.tracking.runs import WEIGHTS
from keras_cnns.writing.composing import Composer, Piece
from keras_cnns.writing.fields import pointer

RECIPE = "/run/recipe"


class StartingPhrases:
    """The phrases that templates insert, for the facts of a composer.

    Args:
        composer: The composer.
    """

    def __init__(self, composer: Composer) -> None:
        self.value, self.get, self.cite = composer.value, composer.get, composer.cite

    def functions(self) -> dict[str, Callable[..., Piece]]:
        """Return the functions that templates can call."""
        return {"initial_weights": self.initial_weights, "fine_tuning": self.fine_tuning}

    def initial_weights(self) -> Piece:
        """Name the weights that training began with, with their source, licence and checksum."""
        if not self.get(pointer("run", "tags", WEIGHTS)):
            return Piece("random initial weights")
        names = {name: pointer("run", "tags", f"{WEIGHTS}.{name}") for name in ("source", "licence", "sha256")}
        details = "; ".join(
            f"{title} {self.value(names[name])}"
            for name, title in (("source", "source"), ("licence", "licence"), ("sha256", "checksum"))
            if self.get(names[name])
        )
        layers = pointer("run", "tags", f"{WEIGHTS}.initial_layers")
        initial = f", which do not have the layers {self.value(layers)}" if self.get(layers) else ""
        return Piece(f"the weights {self.value(pointer('run', 'tags', WEIGHTS))} ({details}){initial}")

    def fine_tuning(self) -> Piece:
        """Describe what was frozen, the learning rates of blocks, and how the classifier was initialised."""
        return Piece(" ".join(self._sentences()))

    def _sentences(self) -> Iterator[str]:
        if self._recipe("head") == PROBE:
            yield (
                f"The classifier was initialised by logistic regression on the features of the training images "
                f"{self.cite('kumar2022')}. The strength of its quadratic regularisation was chosen by "
                f"cross-validation among these images."
            )
        yield from self._frozen()
        if self._changed("layer_decay", "1"):
            yield (
                f"The learning rate decreased from block to block, from the classifier to the input, by a factor of "
                f"{self._value('layer_decay')} {self.cite('bao2022')}."
            )
        if self._changed("head_rate", "1"):
            yield f"The learning rate of the classifier was multiplied by {self._value('head_rate')}."
        if self._recipe("batch_norm_statistics") == "frozen":
            yield "Batch normalization used the moving statistics of the initial weights, which were not updated."

    def _frozen(self) -> Iterator[str]:
        freeze = self._recipe("freeze")
        if freeze in (None, NOTHING) or self._recipe("epochs") == "0":
            return
        what = "The weights before the classifier"
        if freeze != FEATURES:
            what = f"The weights of block {self._value('freeze')} and of all blocks before it"
        if not self._changed("unfreeze_at", "none"):
            yield f"{what} were not trained."
            return
        yield (
            f"{what} were not trained at first. After each of the epochs {self._value('unfreeze_at')} one more block "
            f"was trained, the last one first {self.cite('howard2018')}, and after the last of them all blocks."
        )

    def _recipe(self, name: str) -> Any:
        return self.get(f"{RECIPE}/{name}")

    def _value(self, name: str) -> Piece:
        return self.value(f"{RECIPE}/{name}")

    def _changed(self, name: str, default: str) -> bool:
        return self._recipe(name) not in (None, default)
