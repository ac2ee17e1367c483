"""Memory that training takes for weights, gradients and AdamW's moments; activations and the data come on top."""

from xlift.registry.known.parameters import Parameters

METHODS = ("fp32", "bf16", "lora")


def training_gb(parameters: Parameters, method: str) -> float:
    """10^9 bytes for a model of these sizes.

    fp32: 16 bytes a weight: itself, its gradient and two moments. bf16: as many, since master weights and moments stay
    fp32, and 2 more for each weight outside the embeddings, whose copy in bf16 is kept for the backward pass. lora, with
    products in bf16: 4 for embeddings and 2 for the other frozen weights, which wait for the end in fp32 in the host's
    memory; thin matrices of rank 8 add less than a hundredth.
    """
    copies = 2 * parameters.non_embedding
    total = {
        "fp32": 16 * parameters.total,
        "bf16": 16 * parameters.total + copies,
        "lora": 4 * (parameters.total - parameters.non_embedding) + copies,
    }
    return total[method] / 1e9
