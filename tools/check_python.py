"""Say at once, and in words, why a virtual environment could not be made."""

import sys

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.exit(
        f"needed Python {NEEDED[0]}.{NEEDED[1]} or newer, found {sys.version.split()[0]} at "
        f"{sys.executable}; name another one, for example: make PYTHON=python3.12 setup"
    )
try:
    import ensurepip  # noqa: F401
except ImportError:
    sys.exit(
        f"{sys.executable} comes without ensurepip, so it cannot make a virtual environment; "
        "on Debian and Ubuntu install it with: apt-get install python3-venv"
    )
