"""percbal in verl 0.9: a reward, credit by segment, and the configurations in docs/examples.

- ``compute_score`` is the reward function; importing it needs no trainer.
- ``plugin`` is what verl loads by itself (entry-point group ``verl.plugins``): an advantage
  estimator and a rollout, both named ``percbal_segment``.

docs/scale.md says how to start it, and what was run.
"""

from __future__ import annotations

from percbal.adapters.verl.reward import compute_score

__all__ = ["compute_score"]
