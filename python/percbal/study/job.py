"""A job of a study, which ends with the process that started it, from its first moment on.

``python -m percbal.study.job ..`` is `percbal.study.run` under that rule: what a training needs
takes seconds to import, in which it would outlive a parent that is killed.
"""

from __future__ import annotations

import os
import sys
import threading

ENDS_WITH_PARENT = "PERCBAL_ENDS_WITH_PARENT"  # set for a job: its stdin is a pipe of its parent


def end_with_parent() -> None:
    """End when the process that started this one does, however that one is killed."""
    if os.environ.get(ENDS_WITH_PARENT) != "1":
        return

    def wait() -> None:
        # not through sys.stdin, whose lock a thread would hold as the interpreter ends
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    from percbal.study.run import main

    main(*sys.argv[1:])
