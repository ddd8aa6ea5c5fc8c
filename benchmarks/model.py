"""Targets 2 and 7: the compute part of the dense form, by itself.

It needs torch and numpy alone, so it can be taken to a GPU machine: copy `benchmarks/`, `pipeline/`
and the file of the network that `python -m benchmarks` leaves in its work folder, then

    python -m benchmarks.model network_lenet_64.pt
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.device import on_device
from benchmarks.form import Network, dense, product
from benchmarks.timing import Measured, side_by_side
from pipeline.parallel import core_count


def beside_product(
    network: Network, cores: int, seconds: float, say: Callable[[str], None] = print
) -> dict[str, Measured]:
    """Target 2: operations a second of the dense form and of a matrix product, in turns."""
    form = network.form()
    sides = {
        "product": product(cores),
        "dense form": dense(form, network.block(form.rows, form.cols), cores),
    }
    return side_by_side(sides, seconds, say=say)


def main() -> None:
    """Print the figures of this machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=__doc__)
    parser.add_argument("network", type=Path, help="the file of the network")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of three runs")
    options = parser.parse_args()
    network, cores = Network.load(options.network), core_count()
    measured = beside_product(network, cores, options.seconds)
    gflops = {name: measured[name].rate / 1e9 for name in measured}
    share = 100 * gflops["dense form"] / gflops["product"]
    print(f"{cores} cores: {gflops['dense form']:.0f} GFLOP/s, {share:.0f} % of a matrix product")
    if not torch.cuda.is_available():
        print("no CUDA device at hand")
        return
    print(torch.cuda.get_device_name())
    for key, value in vars(on_device(network, "cuda", options.seconds)).items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
