"""Write-up of runs: article, checklists, model card, dataset card, and the lock file that repeats a run.

Text never contains a number of its own. Templates name fields of the facts (`facts`), a composer prints their values
and remembers the fields (`composing`), and the document is written as Markdown, LaTeX or Word.
"""

from __future__ import annotations
