"""Says what this machine lacks, before anything is installed. Standard library only; any Python 3."""

import importlib.util
import re
import shutil
import subprocess
import sys

NEEDED_DISK_GB = 3


def python():
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        yield "Python 3.11 or newer is needed, this is " + found, "make PYTHON=/path/to/python3.11 …"
    if importlib.util.find_spec("ensurepip") is None:
        yield "Python's venv module is missing", "apt-get install python3-venv"


def node():
    path = shutil.which("node")
    if path is None:
        yield (
            "Node.js is missing (20 or newer; the web app and PostgREST need it)",
            "apt-get install nodejs npm",
        )
        return
    said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, timeout=20).stdout.decode().strip()
    version = re.match(r"v(\d+)", said)
    if version is None or int(version.group(1)) < 20:
        yield "Node.js 20 or newer is needed, this is " + (said or "unknown"), "install Node.js 20"
    if shutil.which("npm") is None:
        yield "npm is missing", "apt-get install npm"


def disk():
    free = shutil.disk_usage(".").free / 1e9
    if free < NEEDED_DISK_GB:
        yield "%.1f GB are free here, about %d are needed" % (free, NEEDED_DISK_GB), "free some disk space"


def main():
    problems = [*python(), *node(), *disk()]
    for what, hint in problems:
        print("  %s\n      what to do: %s" % (what, hint), file=sys.stderr)
    if problems:
        sys.exit("cannot set up: %d %s" % (len(problems), "problem" if len(problems) == 1 else "problems"))


if __name__ == "__main__":
    main()
