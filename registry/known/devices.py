"""Accelerators, for plans on paper: memory, and the dense products in bf16 that their data sheets promise.

Rows are of NVIDIA's data sheets (H200: 2024; H100 SXM: 2023; A100 SXM: 2021; L40S: 2023; V100 SXM2, in fp16: 2020; RTX 4090: Ada
architecture's white paper, 2023), without sparsity. How much of it a training reaches is not theirs to say: `REACHED` is what
`registry.cost` assumes of an H100.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """`memory_gb`: 10^9 bytes; `peak`: operations a second."""

    memory_gb: float
    peak: float


DEVICES = {
    "H200": Device(141, 989e12),
    "H100": Device(80, 989e12),
    "A100": Device(80, 312e12),
    "A100-40": Device(40, 312e12),
    "L40S": Device(48, 362e12),
    "V100": Device(32, 125e12),
    "RTX4090": Device(24, 165e12),
}
REACHED = 0.4
