"""What a process keeps on its machine while it lives; after a kill, the next one removes it."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import psutil

OF_MACHINE = f"keras-cnns-{platform.node()}-"


def of_process() -> str:
    """Return what the names of this process's files and folders begin with."""
    return f"{OF_MACHINE}{os.getpid()}-"


def drop_left_over(folder: Path) -> None:
    """Remove what processes of this machine left in a folder that are no more."""
    for path in folder.glob(f"{OF_MACHINE}*"):
        number = path.name.removeprefix(OF_MACHINE).partition("-")[0]
        if not number.isdecimal() or psutil.pid_exists(int(number)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
