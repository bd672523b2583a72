"""Run by test_like_torch.py: every method takes three steps under plain DDP, in two processes."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from every_method import NAMES, adapted
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def steps(name: str, rank: int, exits: bool) -> list[str]:
    """Names of the trained tensors that moved; raises if the two processes end with different ones."""
    model = adapted(name).train()
    before = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(rank)
    for _ in range(3):
        images, labels = (
            torch.randn(4, 3, 16, 16, generator=generator),
            torch.randint(0, 5, (4,), generator=generator),
        )
        if exits:
            loss = model.objective.loss(
                model, wrapped(images, exits=True), labels, nn.functional.cross_entropy, 0.0
            )
        else:
            loss = nn.functional.cross_entropy(wrapped(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key in before:
        mine = model.get_parameter(key).detach()
        theirs = mine.clone()
        dist.broadcast(theirs, src=0)
        assert torch.equal(mine, theirs), (name, key)
    return [key for key, value in before.items() if not torch.equal(value, model.get_parameter(key))]


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    moved = {name: steps(name, rank, exits=False) for name in NAMES}
    moved["dyn, every exit"] = steps("dyn", rank, exits=True)
    if rank == 0:
        (folder / "moved.txt").write_text(
            "\n".join(f"{name}: {' '.join(keys)}" for name, keys in moved.items())
        )
    dist.destroy_process_group()
