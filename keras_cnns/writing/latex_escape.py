"""Escaping of texts for LaTeX."""

from __future__ import annotations

COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", "*": "{*}",
    "–": "--", "—": "---", "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\dots{}", "×": r"$\times$",
    "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$", "±": r"$\pm$", "°": r"\textdegree{}", "µ": r"\textmu{}", "→": r"$\to$",
}  # fmt: skip
"""The commands of characters. Brackets and asterisks are options where they follow a line break."""
LIGATURES = "-,"
"""Characters of which two are printed as another one."""
ACCENTED = frozenset(
    "¡¢£¥§©«®»¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿĂăĄąĆćČčĎďĐđĒēĖėĘęĚěĞğĢģĪīĮįİıĶķĹĺĻļĽľŁłŃńŅņŇň"
    "ŌōŐőŒœŔŕŘřŚśŞşŠšŢţŤťŪūŮůŰűŲųŹźŻżŽžȘșȚț"
)
"""The characters beyond ASCII that pdfTeX prints in the encoding T1."""


def escape_latex(text: str) -> str:
    r"""Return a text that LaTeX prints as it is.

    Characters that pdfTeX cannot print are written as `\unicodechar{...}`, which the preamble of the article defines:
    XeTeX and LuaTeX print them, and pdfTeX prints their code point.
    """
    pairs = zip(f" {text}", text, strict=False)
    return "".join(f"{'{}' * (before == letter in LIGATURES)}{escape_character(letter)}" for before, letter in pairs)


def escape_character(letter: str) -> str:
    """Return a character as LaTeX."""
    if letter in COMMANDS:
        return COMMANDS[letter]
    if " " <= letter <= "~" or letter in ACCENTED:
        return letter
    return f"\\unicodechar{{{ord(letter):04X}}}"
