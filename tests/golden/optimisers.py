"""LARS of `byol.py` and torch.optim's SGD, Adam and AdamW over five steps with given gradients."""

import torch

import byol
import weights

LR = [0.0, 0.05, 0.1, 0.07, 0.02]
TENSORS = {"layer.weight": (3, 4), "bn.weight": (4,), "layer.bias": (3,)}


def numbers(name, shape, scale=1.0):
    """Exact in float32, so that both sides start from the same numbers."""
    u = torch.from_numpy(weights.unit(name, int(torch.tensor(shape).prod())))
    return ((2 * u - 1) * scale).float().double().reshape(shape)


def record(case, settings, tensors, gradients, run):
    """`tensors`: name -> (initial value, weight decay); `run` takes the parameters and yields after each step."""
    params = {name: torch.nn.Parameter(value.clone()) for name, (value, _) in tensors.items()}
    after = {name: [] for name in tensors}
    for _ in run(params):
        for name, p in params.items():
            after[name].append(p.detach().reshape(-1).tolist())
    rows = [
        {
            "name": name,
            "shape": list(value.shape),
            "weight_decay": decay,
            "initial": value.reshape(-1).tolist(),
            "gradients": [g[name].reshape(-1).tolist() for g in gradients],
            "after": after[name],
        }
        for name, (value, decay) in tensors.items()
    ]
    return {"case": case, **settings, "lr": LR, "tensors": rows}


def gradients_for(names, tag="gradient"):
    return [{n: numbers(f"{tag}.{k}.{n}", TENSORS[n], 0.3) for n in names} for k in range(len(LR))]


def lars(case, initial, gradients, settings):
    def run(params):
        optimiser = byol.Lars(params.values(), **settings)
        for lr, g in zip(LR, gradients):
            optimiser.step(lr, [g[name] for name in params])
            yield

    decay = settings["weight_decay"]
    tensors = {name: (value, decay if value.dim() > 1 else 0.0) for name, value in initial.items()}
    own = {key: value for key, value in settings.items() if key != "weight_decay"}
    return record(case, {"optimiser": "lars", **own}, tensors, gradients, run)


def torch_optimiser(case, kind, decay, decay_on_all, **settings):
    """Weight decay on every tensor, or on those of rank 2 and more alone."""
    initial = {name: numbers(f"initial.{name}", shape) for name, shape in TENSORS.items()}
    tensors = {n: (v, decay if decay_on_all or v.dim() > 1 else 0.0) for n, v in initial.items()}
    gradients = gradients_for(TENSORS)

    def run(params):
        groups = [{"params": [params[n]], "weight_decay": tensors[n][1]} for n in tensors]
        optimiser = kind(groups, lr=1.0, **settings)
        for lr, g in zip(LR, gradients):
            for group in optimiser.param_groups:
                group["lr"] = lr
            for name, p in params.items():
                p.grad = g[name].clone()
            optimiser.step()
            yield

    return record(case, {"optimiser": kind.__name__.lower(), **settings}, tensors, gradients, run)


def cases() -> list:
    initial = {name: numbers(f"initial.{name}", shape) for name, shape in TENSORS.items()}
    zero = {"layer.weight": torch.zeros(TENSORS["layer.weight"], dtype=torch.float64)}
    one = {"layer.weight": initial["layer.weight"]}
    still = [{"layer.weight": torch.zeros(TENSORS["layer.weight"], dtype=torch.float64)} for _ in LR]
    # The reference's constants, then values at which every term shows.
    reference = {"trust_coefficient": 1e-3, "momentum": 0.9, "weight_decay": 1.5e-6}
    strong = {"trust_coefficient": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    no_decay = {**strong, "weight_decay": 0.0}
    sgd, adam, adamw = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
    return [
        lars("lars-reference", initial, gradients_for(TENSORS), reference),
        lars("lars-strong", initial, gradients_for(TENSORS), strong),
        lars("lars-zero-parameter", zero, gradients_for(zero), strong),
        lars("lars-zero-gradient-no-decay", one, still, no_decay),
        lars("lars-zero-gradient-decay", one, still, strong),
        torch_optimiser("sgd", sgd, 0.0, True, momentum=0.9, nesterov=False),
        torch_optimiser("sgd-decay", sgd, 0.1, True, momentum=0.9, nesterov=False),
        torch_optimiser("sgd-decay-weights-only", sgd, 0.1, False, momentum=0.9, nesterov=False),
        torch_optimiser("sgd-nesterov", sgd, 0.0, True, momentum=0.9, nesterov=True),
        torch_optimiser("sgd-nesterov-decay", sgd, 0.1, True, momentum=0.9, nesterov=True),
        torch_optimiser("adam", adam, 0.0, True, betas=(0.9, 0.999), eps=1e-8),
        torch_optimiser("adam-decay", adam, 0.1, True, betas=(0.9, 0.999), eps=1e-8),
        torch_optimiser("adamw-decay", adamw, 0.1, True, betas=(0.9, 0.999), eps=1e-8),
        torch_optimiser("adamw-decay-weights-only", adamw, 0.1, False, betas=(0.9, 0.999), eps=1e-8),
    ]
