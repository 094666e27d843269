"""The loss with negatives, as SimCLR's NT-Xent and as the paper's InfoNCE, by PyTorch's own cross-entropy.

Writes crates/byol/tests/data/negatives.json. Written from Chen et al. 2020 (eq. 1) and Grill et al. 2020 (section 5).
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

OUT = Path(__file__).resolve().parents[2] / "crates/byol/tests/data/negatives.json"


def nt_xent(z1, z2, temperature):
    """SimCLR's loss of 2B views: each picks its partner among the 2B - 1 others."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = z @ z.T / temperature
    logits.fill_diagonal_(float("-inf"))
    batch = len(z1)
    partner = torch.cat([torch.arange(batch) + batch, torch.arange(batch)])
    return F.cross_entropy(logits, partner)


def info_nce(p, own, other, alpha, beta):
    """The paper's InfoNCE of one direction, sums written out."""
    cosine = lambda a, b: F.cosine_similarity(a, b, dim=0)
    batch = len(p)
    total = 0.0
    for i in range(batch):
        negatives = sum(torch.exp(cosine(p[i], own[j]) / alpha) for j in range(batch) if j != i)
        negatives = negatives + sum(torch.exp(cosine(p[i], other[j]) / alpha) for j in range(batch))
        total = total + 2 / batch * cosine(p[i], other[i]) - beta * 2 * alpha / batch * torch.log(negatives)
    return total


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    batch, size = 6, 5
    p1, p2, t1, t2 = (torch.randn(batch, size, requires_grad=True) for _ in range(4))
    inputs = {"p1": p1, "p2": p2, "t1": t1, "t2": t2}
    cases = []
    for alpha, beta in [(0.1, 1.0), (0.01, 1.0), (0.3, 0.5), (1.0, 1.0), (10.0, 0.1)]:
        loss = 4 - info_nce(p1, t1, t2, alpha, beta) - info_nce(p2, t2, t1, alpha, beta)
        gradients = torch.autograd.grad(loss, list(inputs.values()))
        named = {name: g.flatten().tolist() for name, g in zip(inputs, gradients)}
        cases.append({"alpha": alpha, "beta": beta, "loss": loss.item(), "gradients": named})
    simclr = {}
    for alpha in [0.1, 0.5]:
        loss = nt_xent(p1, p2, alpha)
        g1, g2 = torch.autograd.grad(loss, [p1, p2])
        simclr[str(alpha)] = {"loss": loss.item(), "p1": g1.flatten().tolist(), "p2": g2.flatten().tolist()}
    values = {name: tensor.detach().flatten().tolist() for name, tensor in inputs.items()}
    OUT.write_text(json.dumps({"batch": batch, "size": size, "inputs": values, "cases": cases, "simclr": simclr}) + "\n")


if __name__ == "__main__":
    main()
