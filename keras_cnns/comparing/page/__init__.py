"""The comparison page: a single HTML file that loads nothing from other hosts."""
