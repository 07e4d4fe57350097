"""Decoding of image files: one by one, many in parallel, and once per machine."""
