"""Where the command ``isovox`` begins, also as ``python -m cli``: told to stop, it ends in one line from its first moment on."""

import sys

from cli.first_line import greet
from cli.helpers.stopping import watch
from infra.processes import signals


def main() -> int:
    """Run the command that the command line names.

    Returns:
        the exit code.
    """
    watch(sys.argv[1:])
    greet(sys.argv[1:])
    try:
        from cli.main import main as run

        return run()
    except BaseException:
        if not signals.came():
            raise
    finally:
        if signals.came():
            signals.end()
    return 128 + signals.came()


if __name__ == "__main__":
    sys.exit(main())
