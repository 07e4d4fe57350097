"""The page of a comparison: one file that asks no other host for anything."""

from keras_cnns.comparing.page.writing import write_page

__all__ = ["write_page"]
