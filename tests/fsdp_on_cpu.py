"""FSDP2 between gloo processes on the CPU, which accelerate turns on for accelerators only."""

from __future__ import annotations

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule

FSDP = {
    "version": 2,
    # the list in transformers names a layer that the fixture lacks
    "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer", "SiglipEncoderLayer"],
}
OPTIONS = {"ddp_backend": "gloo", "fsdp": True, "fsdp_config": FSDP}


class ShardedOnCPU:
    """For a Trainer, listed before it. Everything after the choice of the engine is theirs."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        state.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        assert self.accelerator.is_fsdp2 and AcceleratorState().is_fsdp2
        self.is_fsdp_enabled = True

    def train(self, *args, **kwargs):
        result = super().train(*args, **kwargs)
        assert isinstance(self.model, FSDPModule), "the model was not sharded"
        return result
