"""The reference of the KL term is the model that training begins from.

TRL loads it by the name in the policy's configuration. Weights that changed since they were loaded
from there, such as those that adapters were merged into, would be missing in it.
"""

from __future__ import annotations

from typing import Any

from percbal.models.lora import below_adapters
from percbal.models.output_head import inner_model


def begin_at_policy(trainer: Any) -> None:
    """Copy the policy's weights into ``trainer.ref_model``, if there is one, in place.

    Under FSDP and ZeRO-3, which have sharded it already, it stays as it was loaded. Raises
    ValueError where adapters would be missing in it then, and for a reference that cannot take
    the weights.
    """
    if trainer.ref_model is None:
        return
    policy = inner_model(trainer.accelerator, trainer.model)
    name = policy.config._name_or_path
    if trainer.is_fsdp_enabled or _by_zero_3(trainer):
        if below_adapters(policy) is not None:
            raise ValueError(
                f"beta > 0 compares with the model below the adapters that were merged from "
                f"{policy.name_or_path}, {name}, under FSDP and ZeRO-3: save the merged model "
                "with save_pretrained and train that, or set beta to 0"
            )
        return
    reference = inner_model(trainer.accelerator, trainer.ref_model)
    if any(weight.is_meta for weight in reference.parameters()):
        raise ValueError(
            f"the reference model of beta > 0 does not fit into memory beside the one that is "
            f"trained: some of its weights, from {name}, are offloaded"
        )
    try:
        reference.load_state_dict(policy.state_dict(), strict=True)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1].strip()
        raise ValueError(
            f"the reference model of beta > 0, which TRL loads from {name}, is no model like the "
            f"one that is trained: {why}"
        ) from error


def _by_zero_3(trainer: Any) -> bool:
    """Whether DeepSpeed shards parameters; below stage 3 each rank has them whole."""
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    return plugin is not None and plugin.zero_stage == 3
