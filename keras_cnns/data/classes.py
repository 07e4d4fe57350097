"""Classes: the spellings of a class, the order of classes, and the positive one of two classes.

The positive class is recognised by words in the names of both classes, `POSITIVE_WORDS` and `NEGATIVE_WORDS`. Words are
compared without case and accents, in singular and plural. Words that both names have in common do not count: benign
tumor and malignant tumor differ in the first word. `NEGATIONS` turn the meaning of a name round: no tumor and non-covid
are negative, and not healthy is positive. Otherwise 1 is positive if the names differ only in 0 and 1, or -1 and 1.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeAlias

import numpy as np

from keras_cnns.data.dataset import Dataset
from keras_cnns.errors import DataError

ClassKey: TypeAlias = Decimal | str
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?")
WORD = re.compile(r"[^\W\d_]+|\d+")
CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")  # not those that change the shape of letters
WITHOUT_SHAPE = frozenset("\u034f\u2800\u3164\u1160\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))
SAME_LETTERS = str.maketrans(
    {**dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"), **dict.fromkeys("\u2018\u2019\u02bc", "'"),
     "\u0131": "i", "\u0307": ""}
)  # fmt: skip
"""Hyphens, apostrophes and the two letters i of Turkish, which programs write in several ways."""
POSITIVE_NOTE = "Positive class: "
"""The beginning of the note of `choose_positive`."""


def label_classes(values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Number the classes of images, and join the spellings of each class.

    Spellings of one class differ only in case, spaces, compatible Unicode characters (composed or decomposed accents,
    full-width letters, ...) or in how a number is written (1, 1.0, 01). The class is called by its most frequent
    spelling, among equals by the last one in the order of code points, such as normal rather than Normal; a number is
    called by its shortest spelling.

    Args:
        values: The name of the class of each image.

    Returns:
        The class of each image, shape (images,), int64; the names of the classes, in numeric order if all are numbers,
        otherwise in alphabetical order without case; and a note for each class that has several spellings. They do
        not depend on the order of the images.
    """
    spellings: dict[ClassKey, Counter[str]] = {}
    for value, count in Counter(values).items():
        spellings.setdefault(class_key(value), Counter())[value] = count
    names = {key: choose_spelling(key, counts) for key, counts in spellings.items()}
    if all(isinstance(key, Decimal) for key in names):
        keys = sorted(names, key=lambda key: (Decimal(key), names[key]))
    else:
        keys = sorted(names, key=lambda key: (normalize("NFC", names[key].casefold()), names[key]))
    indices = {key: index for index, key in enumerate(keys)}
    labels = {value: indices[key] for key, counts in spellings.items() for value in counts}
    notes = [
        f"{join_names(map(quote_name, sorted(spellings[key])))} are taken to be one class, {quote_name(names[key])}."
        for key in keys
        if len(spellings[key]) > 1
    ]
    return np.array([labels[value] for value in values], np.int64), tuple(names[key] for key in keys), tuple(notes)


def class_key(name: str) -> ClassKey:
    """Return what all spellings of a class have in common: its number, or its name in a normalised form."""
    folded = normalize("NFKC", normalize("NFKC", name).casefold().translate(SAME_LETTERS))
    text = " ".join("".join(letter for letter in folded if not is_invisible(letter)).split())
    return Decimal(text) if NUMBER.fullmatch(text) else text


def is_invisible(letter: str) -> bool:
    """Return whether a character is a control character (but not a space) or one that has no shape of its own."""
    category = unicodedata.category(letter)
    return category == "Cf" or (category == "Cc" and not letter.isspace()) or letter in WITHOUT_SHAPE


def choose_spelling(key: ClassKey, counts: Counter[str]) -> str:
    """Return the spelling that a class is called by, without surrounding spaces and invisible characters."""
    cleaned: Counter[str] = Counter()
    for spelling, count in counts.items():
        cleaned[" ".join(normalize("NFC", INVISIBLE.sub("", spelling)).split())] += count
    if isinstance(key, Decimal):
        return min(cleaned, key=lambda name: (len(name), name))
    return max(cleaned, key=lambda name: (cleaned[name], name))


def normalize(form: str, text: str) -> str:
    """Return a text in a Unicode normal form."""
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


def quote_name(name: str) -> str:
    """Return a name in quotes, with escapes for characters that cannot be seen, such as combining accents."""
    hidden = ("Cc", "Cf", "Mn", "Zl", "Zp", "Zs")
    shown = (
        letter.encode("unicode_escape").decode() if letter != " " and unicodedata.category(letter) in hidden else letter
        for letter in name
    )
    return f"'{''.join(shown)}'"


def join_names(names: Sequence[str] | map[str]) -> str:
    """Return names as in a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def find_class(name: str, names: Sequence[str]) -> int | None:
    """Return the index of a class in names: of the same name or, without one, of another spelling of it."""
    if name in names:
        return list(names).index(name)
    keys = list(map(class_key, names))
    return keys.index(class_key(name)) if class_key(name) in keys else None


def choose_positive(dataset: Dataset, positive: str | None) -> Dataset:
    """Make the positive class of two class 1, which sensitivity, specificity, PPV and NPV refer to, and note which.

    Args:
        dataset: The dataset.
        positive: The name of the positive class, in any case; None to recognise it by the names of both classes.

    Returns:
        The dataset with `positive`; the classes are swapped if the positive one is class 0.

    Raises:
        DataError: There is no such class, or there are not two classes.
    """
    names = dataset.class_names
    if dataset.task != "binary":
        if positive is None:
            return dataset
        kind = "is multi-label" if dataset.task == "multi-label" else f"has {dataset.classes} classes"
        raise DataError(f"{dataset.name} {kind}, and only one of two classes can be positive; leave out {positive!r}.")
    index = recognise_positive(*names) if positive is None else find_class(positive, names)
    if positive is not None and index is None:
        raise DataError(
            f"{dataset.name} has no class {positive!r} that could be positive; choose {' or '.join(names)}."
        )
    if index is None:
        note = (
            f"neither {names[0]} nor {names[1]} is recognised, so sensitivity, specificity, PPV and NPV are left out; "
            f"choose one with --positive NAME (positive=NAME)."
        )
        return replace(dataset, notes=(*dataset.notes, f"{POSITIVE_NOTE}{note}"))
    chosen, other = names[index], names[1 - index]
    note = f"{chosen}, as chosen."
    if positive is None:
        note = f"{chosen}, recognised by the names {chosen} and {other}; for the other, use --positive {other!r}."
    splits = dataset.splits
    if index == 0:
        splits = {name: replace(split, labels=1 - split.labels) for name, split in splits.items()}
    notes = (*dataset.notes, f"{POSITIVE_NOTE}{note}")
    return replace(dataset, splits=splits, class_names=(other, chosen), positive=chosen, notes=notes)


def recognise_positive(first: str, second: str) -> int | None:
    """Return which of two classes is positive by their names, 0 or 1; None if that is not clear."""
    keys = [class_key(first), class_key(second)]
    if Decimal(1) in keys and (Decimal(0) in keys or Decimal(-1) in keys):
        return keys.index(Decimal(1))
    words = [split_words(first), split_words(second)]
    for own, other in ((0, 1), (1, 0)):
        if any("".join(words[own]) == f"{prefix}{''.join(words[other])}" for prefix in PREFIXES):
            words[own] = ["not", *words[other]]
    meanings = [judge_name(*words), judge_name(*reversed(words))]
    if meanings[0] != meanings[1]:
        return int(meanings[1] > meanings[0])
    pairs = [pair for pair in zip(*words, strict=False) if pair[0] != pair[1]]
    if any(meanings) or len(words[0]) != len(words[1]) or len(pairs) != 1:
        return None
    numbers = [int(word) if word.isdecimal() else None for word in pairs[0]]
    return numbers.index(1) if set(numbers) == {0, 1} else None


def judge_name(words: Sequence[str], others: Sequence[str]) -> int:
    """Return whether a name is positive (1), negative (-1) or neither (0), given the words of the other name too."""
    content = [word for word in words if word not in NEGATIONS]
    if not content:
        return judge(words)
    meaning = judge([word for word in content if word not in others])
    pairs = itertools.pairwise(words)
    if len(content) == len(words) or any(own in NEGATIONS and following in NOT_NEGATED for own, following in pairs):
        return meaning
    return -(meaning or judge(content) or 1)


def judge(words: Sequence[str]) -> int:
    """Return whether words are positive (1), negative (-1), or neither or both (0)."""
    return int(any(word in POSITIVE_WORDS for word in words)) - int(any(word in NEGATIVE_WORDS for word in words))


def split_words(name: str) -> list[str]:
    """Return the words of a name without case, accents and plural, and with not for prefixes as in nontumor."""
    separated = CAPITALS.sub(" ", normalize("NFKC", name).strip())
    separated = re.sub(r"[-\u2212\u2013]$", " negative", re.sub(r"\+$", " positive", separated))
    words: list[str] = []
    for found in WORD.findall(simplify(separated)):
        word = find_known(found)
        if word is None:
            rests = (find_known(found.removeprefix(prefix)) for prefix in PREFIXES if found.startswith(prefix))
            rest = next(filter(None, rests), None)
            words += [found] if rest is None else ["not", rest]
        else:
            words.append(word)
    return words


def find_known(word: str) -> str | None:
    """Return a word, or its singular, if it is known to be positive, negative or a negation."""
    known = POSITIVE_WORDS | NEGATIVE_WORDS | NEGATIONS
    return next((form for form in (word, word.removesuffix("s")) if form in known), None)


def simplify(text: str) -> str:
    """Return a text without case and accents."""
    folded = normalize("NFKD", text.casefold())
    return normalize("NFC", "".join(letter for letter in folded if not unicodedata.combining(letter)))


NEGATIVE_WORDS = frozenset(
    simplify("""
    normal normals normality healthy health control negative neg benign free absent absence clean
    unremarkable intact undamaged wildtype false no none non not nothing nil good ok okay pass background hc nevus
    nevi naevus naevi
    gesund gesunde gesunder unauffällig unauffällige normalbefund kontrolle kontrollen negativ gutartig gutartige falsch
    nein keine ohne befundfrei
    sain saine sains saines témoin témoins négatif négative bénin bénigne faux
    sano sana sanos sanas normales controles negativo negativa negativos benigno benigna falso ninguno ninguna
    normale normali sani controllo controlli negativi benigni nessuno nessuna
    saudável saudáveis normais controle não nenhum nenhuma
    gezond gezonde negatief negatieve goedaardig goedaardige nee geen
    frisk friske rask normalt godartet godartad nej nei
    zdrowy zdrowa zdrowe prawidłowy prawidłowa łagodny łagodna ujemny ujemna nie brak
    zdravý zdravá zdravo
    норма нормальный нормальная здоровый здоровая здоров контроль отрицательный отрицательная доброкачественный нет
    正常 健康 阴性 陰性 良性 对照 對照 否 无 無 対照 異常なし 정상 음성
    سليم طبيعي حميد سلبي
    """).split()
)
"""Words for the absence of a finding."""
POSITIVE_WORDS = frozenset(
    simplify("""
    abnormal abnormality abnormalities anomaly anomalies anomalous positive pos yes true present presence finding ill
    illness sick sickness unhealthy disease diseased disorder pathology pathologic pathological patient case affected
    infected infection infectious parasitized parasitised parasite malaria tumor tumour tumorous neoplasm neoplastic
    neoplasia cancer cancerous carcinoma adenocarcinoma sarcoma melanoma lymphoma leukemia leukaemia glioma glioblastoma
    meningioma blastoma malignant malignancy metastasis metastases metastatic pneumonia covid coronavirus tuberculosis
    tuberculous tb effusion pneumothorax edema oedema cardiomegaly atelectasis consolidation opacity opacities
    infiltrate infiltration emphysema fibrosis nodule mass lesion polyp ulcer cyst hernia fracture fractured broken
    bleed bleeding
    hemorrhage haemorrhage hemorrhagic haemorrhagic hematoma haematoma stroke infarct infarction ischemia ischaemia
    ischemic ischaemic stenosis aneurysm embolism thrombus thrombosis arthritis osteoarthritis osteoporosis scoliosis
    glaucoma cataract retinopathy dr dme amd drusen diabetic diabetes alzheimer dementia demented parkinson autism
    epilepsy sepsis hepatitis cirrhosis steatosis appendicitis caries cavity plaque stone calcification dysplasia
    dysplastic mitosis mitotic mutant mutated mutation symptomatic inflammation inflamed inflammatory wound necrosis
    necrotic defect defective damage damaged faulty bad event recurrence relapse
    krank kranke kranker krankheit erkrankt erkrankung auffällig auffällige pathologisch tumore tumoren krebs karzinom
    bösartig bösartige maligne maligner positiv wahr ja befund infiziert fraktur bruch läsion lungenentzündung pneumonie
    blutung ödem entzündung metastase metastasen
    malade malades maladie anormal anormale tumeur tumeurs maligne oui vrai positif infecté fracturé lésion pneumopathie
    enfermo enferma enfermos enfermedad cáncer neumonía maligno maligna positivo positiva positivos sí lesión fractura
    infectado verdadero tumores
    malato malata malati malattia tumore tumori cancro polmonite positivi vero frattura infetto lesione anormale anomalo
    doente doentes doença câncer lesão infectada sim verdadeiro
    ziek zieke ziekte kanker kwaadaardig kwaadaardige longontsteking positief positieve waar breuk afwijkend
    syk sjuk syg kreft ondartet elakartad
    chory chora chore choroba rak guz złośliwy złośliwa dodatni dodatnia tak nemocný nemocná hasta kanserli kanser evet
    больной больная болен болезнь патология опухоль рак злокачественный пневмония положительный положительная да
    异常 異常 患病 疾病 阳性 陽性 恶性 惡性 悪性 肿瘤 腫瘤 腫瘍 癌 癌症 肺炎 病变 病變 病変 骨折 是
    비정상 악성 종양 암 폐렴
    مريض ورم خبيث سرطان إيجابي
    """).split()
)
"""Words for a finding."""
NEGATIONS = frozenset(
    simplify("""
    no non none not without ohne kein keine keinen nicht sans aucun aucune sin senza sem não zonder geen niet uden utan
    uten bez не нет без 无 無 没有 非
    """).split()
)
"""Words that negate the rest of a name."""
NOT_NEGATED = frozenset({"small", "hodgkin", "st", "stemi"})
"""Words that are part of the name of a disease after non, as in non-small-cell carcinoma."""
PREFIXES = ("non", "not", "no", "un", "无", "無", "没有", "非")
"""What a word that is negated can begin with."""
