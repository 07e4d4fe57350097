"""Run all experiments or the named ones: `python -m experiments bottleneck`."""

from __future__ import annotations

import argparse
import importlib
import time

NAMES = (
    "bottleneck",
    "inception",
    "rectifiers",
    "small_kernels",
    "degradation",
    "auxiliary",
    "pooling",
    "families",
)


def main() -> None:
    """Run the experiments one after the other."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Test claims of the papers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - {*NAMES}:
        parser.error(f"no experiment named {unknown.pop()!r}; choose {', '.join(NAMES)}.")
    for name in names:
        begun = time.perf_counter()
        importlib.import_module(f"experiments.{name}").run()
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
