"""Temporary files of a process; those of a killed process are removed by the next one."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import psutil

MACHINE_PREFIX = f"keras-cnns-{platform.node()}-"


def process_prefix() -> str:
    """Return the prefix of the names of this process's temporary files and folders."""
    return f"{MACHINE_PREFIX}{os.getpid()}-"


def remove_stale_files(folder: Path) -> None:
    """Remove temporary files that ended processes of this machine left in a folder."""
    for path in folder.glob(f"{MACHINE_PREFIX}*"):
        process_id = path.name.removeprefix(MACHINE_PREFIX).partition("-")[0]
        if not process_id.isdecimal() or psutil.pid_exists(int(process_id)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
