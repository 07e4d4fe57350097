"""The report of an evaluation: an HTML page, its plots, and the same content as text for the terminal."""
