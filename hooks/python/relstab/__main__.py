"""`python -m relstab`: the command itself."""

import os
import sys

from ._command import RelstabError, environment, find

if __name__ == "__main__":
    try:
        command = find()
    except RelstabError as error:
        sys.exit(f"error: {error}")
    os.execve(command, [command, *sys.argv[1:]], environment())
