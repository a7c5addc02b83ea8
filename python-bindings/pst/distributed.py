# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ranks of a data-parallel run: what the runtime's loop exchanges with
them, by torch.distributed. PyTorch is imported for more than one rank only.

A gradient in the memory of the CPU is summed by gloo, one in the memory of a
GPU by NCCL, where it lies; if PyTorch has no CUDA, it goes through the CPU."""

from __future__ import annotations

import os

from ._pst import Error, GpuArray

# What torchrun sets, and torch.distributed reads.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Peers:
    """This process among the ranks of a run.

    `rank` of `count`; `local_rank` of `local_count` on this machine. The
    process group may have been made before, with any backend: groups of gloo
    and of NCCL are made beside it where it has another.
    """

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0, local_count: int = 1):
        self.rank, self.count = rank, count
        self.local_rank, self.local_count = local_rank, local_count
        self._group = None
        self._gpu_group = None
        self._begun = False
        if count > 1:
            self._join()

    @staticmethod
    def of_environment() -> "Peers":
        """The ranks that torchrun has started; else this process alone.

        Raises ValueError if the environment says half of it, and Error if
        PyTorch is missing or the other ranks cannot be reached.
        """
        given = {name: os.environ.get(name, "") for name in _VARIABLES}
        if not given["RANK"] or given["WORLD_SIZE"] in ("", "1"):
            return Peers()
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise ValueError(
                f"RANK and WORLD_SIZE are set, as torchrun does for data-parallel training, but {' and '.join(missing)} "
                "is not: start the command with torchrun, or unset RANK"
            )
        rank, count = _number("RANK"), _number("WORLD_SIZE")
        if not 0 <= rank < count:
            raise ValueError(f"RANK is {rank}, but must lie in [0, WORLD_SIZE), and WORLD_SIZE is {count}")
        return Peers(rank, count, _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", count))

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def default_threads(self) -> int:
        """Threads of a rank: its share of this machine's cores; 0 (the
        runtime's choice) for a process alone."""
        if self.count == 1:
            return 0
        return max(1, len(os.sched_getaffinity(0)) // self.local_count)

    @property
    def sums_on_gpu(self) -> bool:
        """Whether `sum` takes arrays in the memory of a GPU."""
        if self.count == 1:
            return False
        import torch

        return torch.cuda.is_available() and self._distributed().is_nccl_available()

    def sum(self, array) -> None:
        """Replaces a float32 array by its sum over all ranks, in place.

        Of an array of a GPU (`_pst.GpuArray`) that becomes part of the GPU's
        work: it is done before the program's next call, and nobody waits.
        """
        import torch

        if not isinstance(array, GpuArray):
            return self._exchange(lambda dist: dist.all_reduce(torch.from_numpy(array), group=self._group))
        _, device = array.__dlpack_device__()
        with torch.cuda.device(device):
            if self._gpu_group is None:
                self._exchange(self._make_gpu_group)
            # PyTorch asks for the array on its current stream, on which it also waits for NCCL.
            tensor = torch.from_dlpack(array)
            self._exchange(lambda dist: dist.all_reduce(tensor, group=self._gpu_group))
            array.wait_for(torch.cuda.current_stream().cuda_stream)

    def _make_gpu_group(self, dist) -> None:
        own = dist.get_backend() == "nccl"
        self._gpu_group = dist.group.WORLD if own else dist.new_group(backend="nccl")

    def gather(self, values: list[float]) -> list[float]:
        """The numbers of all ranks, rank after rank; each gives as many."""
        import torch

        own = torch.tensor(values, dtype=torch.float64)
        all_ranks = [torch.empty_like(own) for _ in range(self.count)]
        self._exchange(lambda dist: dist.all_gather(all_ranks, own, group=self._group))
        return torch.cat(all_ranks).tolist()

    def wait(self) -> None:
        """Returns when all ranks have come here."""
        if self.count > 1:
            self.gather([0.0])

    def close(self) -> None:
        """Leaves the process group, if it was made here."""
        if self._begun:
            self._distributed().destroy_process_group()
            self._begun = False

    def _join(self) -> None:
        dist = self._distributed()
        if dist.is_initialized():
            if dist.get_backend() != "gloo":
                self._group = dist.new_group(backend="gloo")
            return
        self._exchange(lambda dist: dist.init_process_group("gloo"))
        self._begun = True

    def _distributed(self):
        try:
            import torch.distributed as dist
        except ImportError:
            raise Error(
                f"RANK and WORLD_SIZE say that this is one of {self.count} ranks, which exchange gradients through "
                "PyTorch, but PyTorch is not installed: install it (pip install torch), or unset RANK and WORLD_SIZE"
            ) from None
        return dist

    def _exchange(self, action) -> None:
        try:
            action(self._distributed())
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise Error(
                f"rank {self.rank} of {self.count} has lost the others (one may have ended with an error of its own): {reason}"
            ) from None


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, but is '{text}'") from None
