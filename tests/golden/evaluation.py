"""Weighted k-NN and a linear probe on small random features."""

import torch
import torch.nn.functional as F

import schedules
import weights

TRAIN, TEST, DIM, CLASSES, TEMPERATURE = 60, 40, 8, 5, 0.1


def part(name, count):
    """Features scattered around class centres, wide enough that the classes overlap, and their labels."""
    labels = torch.arange(count) % CLASSES
    centres = torch.from_numpy(weights.unit("centres", CLASSES * DIM)).reshape(CLASSES, DIM) * 2 - 1
    noise = torch.from_numpy(weights.unit(name, count * DIM)).reshape(count, DIM) * 2 - 1
    return (centres[labels] + 1.5 * noise).float().double(), labels


def knn(train, train_labels, test, test_labels, k) -> dict:
    """score[c] = sum of exp(cos / T) over those of the k nearest that have label c; the highest score wins."""
    cosine = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    nearest, index = cosine.topk(k, dim=1)
    votes = F.one_hot(train_labels[index], CLASSES).double() * (nearest / TEMPERATURE).exp().unsqueeze(-1)
    scores = votes.sum(1)
    ranked = scores.sort(1, descending=True).values
    margin = ((ranked[:, 0] - ranked[:, 1]) / ranked[:, 0]).min().item()
    edge = cosine.sort(1, descending=True).values
    gap = (edge[:, k - 1] - edge[:, k]).min().item()
    assert margin > 1e-4 and gap > 1e-6, f"too close to a tie for float32: {margin} {gap}"
    predictions = scores.argmax(1)
    top1 = (predictions == test_labels).double().mean().item()
    print(f"knn k={k}: top-1 {top1:.3f}, smallest margin {margin:.1e}, smallest gap {gap:.1e}")
    return {
        "k": k,
        "temperature": TEMPERATURE,
        "predictions": predictions.tolist(),
        "top1": top1,
        "scores_of_first_test_row": scores[0].tolist(),
    }


def linear(train, train_labels, test, test_labels) -> dict:
    """Full-batch SGD with Nesterov momentum from zero weights, cosine learning rate, no weight decay (spec 5.1)."""
    steps, peak = 20, 0.4
    probe = torch.nn.Linear(DIM, CLASSES).double()
    torch.nn.init.zeros_(probe.weight)
    torch.nn.init.zeros_(probe.bias)
    optimiser = torch.optim.SGD(probe.parameters(), lr=peak, momentum=0.9, nesterov=True)
    losses = []
    for k in range(steps):
        optimiser.param_groups[0]["lr"] = schedules.learning_rate(k, steps, 0, peak)
        loss = F.cross_entropy(probe(train), train_labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    predictions = probe(test).argmax(1)
    return {
        "steps": steps,
        "peak_lr": peak,
        "momentum": 0.9,
        "losses": losses,
        "weight": probe.weight.detach().tolist(),
        "bias": probe.bias.detach().tolist(),
        "predictions": predictions.tolist(),
        "top1": (predictions == test_labels).double().mean().item(),
    }


def results() -> dict:
    train, train_labels = part("train", TRAIN)
    test, test_labels = part("test", TEST)
    data = (train, train_labels, test, test_labels)
    return {
        "classes": CLASSES,
        "train": {"features": train.tolist(), "labels": train_labels.tolist()},
        "test": {"features": test.tolist(), "labels": test_labels.tolist()},
        "knn": [knn(*data, k) for k in (5, 20)],
        "linear": linear(*data),
    }
