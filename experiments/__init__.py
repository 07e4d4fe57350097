"""The field's claims, tried: one module each, run by `python -m experiments`."""
