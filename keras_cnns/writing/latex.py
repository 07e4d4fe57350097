"""Documents as LaTeX: an article that compiles as it is, with its BibTeX file beside it."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from keras_cnns.writing.document import (
    Block,
    Bullets,
    Citation,
    Document,
    Figure,
    Heading,
    Line,
    Paragraph,
    Table,
    Text,
    ToWrite,
)
from keras_cnns.writing.fields import Value
from keras_cnns.writing.latex_escape import escape_latex

HEADINGS = (r"\section", r"\subsection", r"\subsubsection")
MAX_SMALL_COLUMNS = 5
MAX_ROWS = 40
NEW_LINE, SPACED_LINE = "\n", "\\addlinespace[2pt]\n"
TEXT_WIDTHS = {2: (0.3, 0.62), 3: (0.08, 0.34, 0.48), 4: (0.3, 0.2, 0.2, 0.2)}
"""The widths of columns of text, as shares of the width of the page, by the number of columns."""


def to_latex(document: Document, *, bibliography: str = "references", figures: str = "figures") -> str:
    """Return a document as an article in LaTeX.

    Args:
        document: The document.
        bibliography: The name of the BibTeX file, without its suffix.
        figures: The folder of the figures, relative to that of the document.
    """
    environment = Environment(  # noqa: S701 - every part is escaped for LaTeX
        undefined=StrictUndefined, variable_start_string="<<", variable_end_string=">>",
        block_start_string="<%", block_end_string="%>", comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    template = (files("keras_cnns.writing") / "templates" / "article.tex").read_text("utf-8")
    body = "\n\n".join(write_block(block, bibliography, figures) for block in document.blocks)
    return environment.from_string(template).render(title=write_line(document.title), body=body)


def write_block(block: Block, bibliography: str, figures: str) -> str:
    """Return a block."""
    match block:
        case Heading():
            return f"{HEADINGS[block.level - 1]}{{{write_line(block.line)}}}"
        case Paragraph():
            return write_line(block.line)
        case Bullets():
            items = "\n".join(rf"  \item {write_line(line)}" for line in block.lines)
            return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
        case Table():
            return write_table(block)
        case Figure():
            return (
                "\\begin{figure}[H]\n  \\centering\n"
                f"  \\includegraphics[width=\\linewidth,height=0.75\\textheight,keepaspectratio]"
                f"{{{figures}/{block.name}.pdf}}\n  \\caption{{{write_line(block.caption)}}}\n\\end{{figure}}"
            )
        case _:
            return f"\\bibliographystyle{{unsrt}}\n\\bibliography{{{bibliography}}}"


def fits_page(table: Table) -> bool:
    """Return whether a table fits on a page."""
    return table.numeric and len(table.rows) <= MAX_ROWS


def write_table(table: Table) -> str:
    """Return a table: one that stays on one page or, if it is long, one that continues on the next page."""
    header = " & ".join(map(write_line, table.columns))
    rows = [f"  {' & '.join(map(write_line, row))} \\\\" for row in table.rows]
    columns, caption = len(table.columns), rf"  \caption{{{write_line(table.caption)}}}"
    size = r"\small" if columns <= MAX_SMALL_COLUMNS else r"\scriptsize"
    head = f"  \\toprule\n  {header} \\\\\n  \\midrule\n"
    if fits_page(table):
        body = f"{head}{NEW_LINE.join(rows)}\n  \\bottomrule"
        layout = "l" + "r" * (columns - 1)
        tabular = f"\\begin{{tabular}}{{{layout}}}\n{body}\n\\end{{tabular}}"
        return f"\\begin{{table}}[H]\n  \\centering{size}\n{caption}\n{tabular}\n\\end{{table}}"
    widths = TEXT_WIDTHS.get(columns, (0.9 / columns,) * columns)
    layout = "".join(rf">{{\raggedright\arraybackslash}}p{{{width:g}\linewidth}}" for width in widths)
    body = f"{head}  \\endhead\n  \\bottomrule\n  \\endlastfoot\n{SPACED_LINE.join(rows)}"
    first = f"{caption}\\\\\n{head}  \\endfirsthead\n"
    return f"{{{size}\n\\begin{{longtable}}{{{layout}}}\n{first}{body}\n\\end{{longtable}}\n}}"


def write_line(line: Line) -> str:
    """Return a line of text."""
    parts = []
    for part in line:
        match part:
            case Text() | Value():
                parts.append(escape_latex(part.text))
            case Citation():
                parts.append(rf"\cite{{{','.join(part.keys)}}}")
            case ToWrite():
                parts.append(rf"\towrite{{: \emph{{{escape_latex(part.text)}}}}}" if part.text else r"\towrite{}")
    return "".join(parts)
