"""Baselines: networks of `keras.applications`, and functions of users that return a Keras model, as families."""
