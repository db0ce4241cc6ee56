"""Run by test_answer_file.py: a diagnosis that is killed at its fourth batch.

python killed_diagnosis.py FILE_OF_ANSWERS
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from answerers import Oracle, diagnosed

from percbal.evaluate.answer_file import AnswerFile


class Killed(Oracle):
    def __call__(self, batch, *, told):
        if len(self.asked) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch, told=told)


if __name__ == "__main__":
    diagnosed(Killed(), kept=AnswerFile(Path(sys.argv[1]), {"model": "m"}))
