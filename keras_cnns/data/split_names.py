"""The names of splits that folders and tables may use."""

from __future__ import annotations

import re
import unicodedata

from keras_cnns.errors import DataError

WORDS = {
    "train": (
        "train training trn tr fit learn "
        "entrenamiento treino treinamento egitim entrainement apprentissage addestramento "
        "allenamento opleiding treningowy "
        "lernen lern traning trening обучение обучающая 训练 训练集 学习 訓練 学習 훈련 학습"
    ),
    "validation": (
        "validation valid val vld dev devel development tune tuning "
        "dogrulama validierung validacion validacao validazione validatie walidacja "
        "валидация валидационная 验证 验证集 検証 검증"
    ),
    "test": (
        "test testing tst holdout heldout prueba pruebas teste essai essais prova testen "
        "тест тестовая 测试 测试集 テスト 테스트"
    ),
}  # fmt: skip
NOT_A_WORD = re.compile(r"^\d+(?=[\W_])|\d+$|(?<=[\W_])\d+(x\d+)?(?=[\W_]|$)")
"""Numbers such as those of 01_train, train2, train_80%, train (1) and train_224x224."""


def plain(text: str) -> str:
    """Return a text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


SPLIT_OF_WORD = {plain(word): split for split, words in WORDS.items() for word in words.split()}
AMBIGUOUS = frozenset({"eval", "evaluation", "evaluierung", "evaluacion", "avaliacao", "valutazione"})
"""Words that some call the validation split and others the test split."""
FILLERS = frozenset({
    "set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "fold", "daten", "bilder", "satz",
    "menge", "jeu", "conjunto", "de", "d", "datos", "dados", "dati",
})  # fmt: skip
"""Words that say nothing about the split."""


def find_split(name: str) -> str | None:
    """Return the split that a name such as `train`, `Training_set`, `dev`, `holdout` or `Testdaten` stands for.

    Upper case, accents, separators, numbers and words such as "set" or "images" do not matter.

    Returns:
        "train", "validation" or "test"; None if the name does not stand for a split.

    Raises:
        DataError: The name may stand for the validation or for the test split.
    """
    words = split_words(name)
    if len(words) == 1:
        if words[0] in AMBIGUOUS:
            raise DataError(
                f"{name!r} may be the validation or the test split; rename it to val (which chooses the epoch and the "
                f"threshold) or test (which chooses nothing)."
            )
        return SPLIT_OF_WORD.get(words[0])
    return SPLIT_OF_WORD.get("".join(words)) if words in (["hold", "out"], ["held", "out"]) else None


def split_words(name: str) -> list[str]:
    """Return the words of a name without accents, numbers and words such as "set"."""
    words = [word for word in re.split(r"[\W_]+", NOT_A_WORD.sub("", plain(name).strip())) if word]
    return [strip_filler(word) for word in words if word not in FILLERS]


def strip_filler(word: str) -> str:
    """Return the word for a split in a compound such as trainset, testdata or Trainingsdaten; else the word itself."""
    for split_word in sorted(SPLIT_OF_WORD, key=len, reverse=True):
        rest = word.removeprefix(split_word)
        if rest != word and (rest in FILLERS or rest.removeprefix("s") in FILLERS):
            return split_word
    return word
