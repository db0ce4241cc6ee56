"""verl's single-turn rollout, which also says where the perception ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from percbal.adapters.verl.token_rewards import NO_SPAN, write
from percbal.segments.sampled import segment_completions
from percbal.segments.tagged import PERCEPTION


class SegmentOutput(AgentLoopOutput):
    """A response whose reward, once it is known, goes to two tokens instead of the last one."""

    perception_end: int = NO_SPAN
    """Index of the last token of the perception span in the response."""

    def as_dict(self) -> dict[str, Any]:
        output = super().as_dict()
        end = output.pop("perception_end", NO_SPAN)
        if self.reward_score is not None:
            parts = self.extra_fields.get("reward_extra_info", {})
            if "outcome" not in parts:
                raise ValueError(
                    "the reward function must return 'score' and 'outcome', as "
                    f"percbal.adapters.verl.compute_score does, it returned {sorted(parts)}"
                )
            length = len(output["rm_scores"])
            output["rm_scores"] = write(length, self.reward_score, parts["outcome"], end)
        return output


class SegmentAgentLoop(SingleTurnAgentLoop):
    """``SingleTurnAgentLoop`` with ``SegmentOutput``."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> SegmentOutput:
        output = await super().run(sampling_params, **kwargs)
        cut = segment_completions(self.tokenizer, [output.response_ids])
        # not the constructor: fields that verl left unset must stay unset
        segmented = SegmentOutput.model_construct(output.model_fields_set, **dict(output))
        where = np.flatnonzero(cut.segments[0] == PERCEPTION)
        segmented.perception_end = int(where[-1]) if len(where) else NO_SPAN
        return segmented
