"""Every check of the operators' arguments: shapes, dtypes, devices, options, ranges; one sentence
each.

May import: torch. Shapes, dtypes and devices are looked at in every call; values only where that
is free.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _must_check(x: Tensor) -> bool:
    """Range checks read values: free on the CPU, a wait on a GPU, impossible under tracing and
    where there are shapes alone."""
    if torch.compiler.is_compiling() or x.numel() == 0 or isinstance(x, FakeTensor) or x.is_meta:
        return False
    return x.device.type == "cpu" or os.environ.get("PERCBAL_CHECK") == "1"


def _transforms() -> bool:
    """Whether a torch.func transform is active."""
    return torch._C._functorch.peek_interpreter_stack() is not None


# Asked while tracing, so no graph breaks. (torch.compiler.assume_constant_result sets it, too, but
# imports the compiler for it.)
_transforms._dynamo_marked_constant = True  # type: ignore[attr-defined]


def check_backward_only(name: str, instead: str, *tensors: Tensor | None) -> None:
    """The operators have a backward and nothing else: a tangent would get lost without a word, and
    torch.func fails inside them. Free where neither is in use."""
    active = _transforms()
    if not active and forward_ad._current_level < 0:
        return
    given = [t for t in tensors if t is not None]
    if (active and _is_transformed(given)) or any(
        forward_ad.unpack_dual(t).tangent is not None for t in given
    ):
        raise RuntimeError(
            f"{name} takes neither torch.func transforms (grad, vmap, jacrev, jvp, ...) nor "
            f"forward-mode derivatives: use {instead} there, or plain autograd (backward)"
        )


def _is_transformed(tensors: list[Tensor]) -> bool:
    """torch.func.functionalize, which changes no number, is none of them."""
    functionalize = torch._C._functorch.TransformType.Functionalize
    if torch.compiler.is_compiling():  # which cannot ask
        return True
    if all(i.key() == functionalize for i in torch._C._functorch.get_interpreter_stack() or ()):
        return False
    return any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))


def check_one_device(**tensors: Tensor | None) -> None:
    """All lie where the first does, one number too: a kernel takes an address for one of its own
    device, and nothing but a fault would tell."""
    (first, at), *others = tensors.items()
    assert at is not None
    for name, tensor in others:
        if tensor is not None and tensor.device != at.device:
            raise ValueError(f"{name} is on {tensor.device}, {first} on {at.device}")


def check_targets(index: Tensor, classes: int, ignore_index: int) -> bool:
    """Whether every row is known to count, at no further cost."""
    if not _must_check(index):
        return False
    least, most = (int(x) for x in torch.aminmax(index))
    if least >= 0 and most < classes:
        return not least <= ignore_index <= most
    wrong = ((index < 0) | (index >= classes)) & (index != ignore_index)
    if wrong.any():
        raise IndexError(f"Target {int(index[wrong][0])} is out of bounds.")
    return False


def check_ids(ids: Tensor, segments: int) -> None:
    if _must_check(ids) and int(ids.max()) >= segments:
        raise IndexError(
            f"segment_ids holds {int(ids.max())}, but segment_weights has {segments} entries"
        )


def check_segments(
    logits: Tensor,
    target: Tensor,
    segment_ids: Tensor,
    segment_weights: Tensor,
    segment_counts: Tensor | None,
    weight: Tensor | None,
) -> None:
    if logits.dtype not in FLOATS:
        raise ValueError(f"logits must be floating point, got {logits.dtype}")
    if logits.dim() < 2:
        raise ValueError(f"logits must be (..., V), got shape {tuple(logits.shape)}")
    check_one_device(logits=logits, target=target, segment_ids=segment_ids, class_weight=weight)
    check_integers(logits.shape[:-1], target=target, segment_ids=segment_ids)
    check_segment_vectors(segment_weights, segment_counts, logits=logits)
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"class_weight must be {tuple(logits.shape[-1:])}, got {tuple(weight.shape)}"
        )


def check_options(label_smoothing: float, z_loss: float, softcap: float | None) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    check_not_negative(z_loss=z_loss)
    if softcap is not None:
        check_positive(softcap=softcap)


def check_is_number(**given: float) -> None:
    for name, value in given.items():
        if value != value:  # not math.isnan, which breaks a graph
            raise ValueError(f"{name} must be a number, got {value}")


def check_not_negative(**given: float) -> None:
    for name, value in given.items():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")


def check_positive(**given: float) -> None:
    for name, value in given.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


def check_integers(shape: torch.Size, **ids: Tensor) -> None:
    """Each of `ids` holds one integer for each token; `shape` is that of the tokens."""
    for name, values in ids.items():
        if values.shape != shape:
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}")
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"{name} must hold integers, got {values.dtype}")


def check_segment_vectors(
    segment_weights: Tensor, segment_counts: Tensor | None, **rows: Tensor
) -> None:
    """`rows`: the tensor by whose device the others go, by its name."""
    check_one_device(**rows, segment_weights=segment_weights, segment_counts=segment_counts)
    if segment_weights.dim() != 1 or not segment_weights.dtype.is_floating_point:
        raise ValueError(
            "segment_weights must be (S,) and floating point, got shape "
            f"{tuple(segment_weights.shape)} of {segment_weights.dtype}"
        )
    if segment_weights.requires_grad:
        raise ValueError("segment_weights must not require grad; it is taken as a constant")
    if segment_counts is not None and segment_counts.shape != segment_weights.shape:
        raise ValueError(
            f"segment_counts must have shape {tuple(segment_weights.shape)}, "
            f"got {tuple(segment_counts.shape)}"
        )
    if segment_counts is not None and _must_check(segment_counts):
        wrong = segment_counts[~(segment_counts >= 0)]  # NaN among them
        if len(wrong):
            raise ValueError(f"segment_counts must not be negative or NaN, got {wrong[0].item()}")


def check_linear(hidden: Tensor, head: Tensor, bias: Tensor | None, **ids: Tensor) -> None:
    if hidden.dtype not in FLOATS:
        raise ValueError(f"hidden must be floating point, got {hidden.dtype}")
    if hidden.dim() < 2 or head.dim() != 2 or hidden.shape[-1] != head.shape[1]:
        raise ValueError(
            "hidden must be (..., D) and head (V, D), "
            f"got {tuple(hidden.shape)} and {tuple(head.shape)}"
        )
    if head.shape[0] == 0:
        raise ValueError(f"head must have at least one class, got shape {tuple(head.shape)}")
    if head.dtype != hidden.dtype:
        raise ValueError(f"hidden and head must have one dtype, got {hidden.dtype}, {head.dtype}")
    if bias is not None and (bias.shape != head.shape[:1] or bias.dtype != head.dtype):
        raise ValueError(
            f"bias must be {tuple(head.shape[:1])} of {head.dtype}, "
            f"got {tuple(bias.shape)} of {bias.dtype}"
        )
    check_one_device(hidden=hidden, head=head, bias=bias, **ids)
    check_integers(hidden.shape[:-1], **ids)


def check_shard(logits: Tensor, weight: Tensor | None, **ids: Tensor) -> None:
    if logits.dtype not in FLOATS:
        raise ValueError(f"logits_shard must be floating point, got {logits.dtype}")
    if logits.dim() < 2 or logits.shape[-1] == 0:
        raise ValueError(f"logits_shard must be (..., V_r) with V_r > 0, got {tuple(logits.shape)}")
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"class_weight must be {tuple(logits.shape[-1:])}, one for each class of logits_shard, "
            f"got {tuple(weight.shape)}"
        )
    check_one_device(logits_shard=logits, class_weight=weight, **ids)
    check_integers(logits.shape[:-1], **ids)
