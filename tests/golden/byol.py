"""One BYOL step and a ten-step trajectory of a small network, from spec 2.1, 2.2, 4.1 and 4.2."""

import torch
from torch import nn

import networks
import schedules
import weights

CHANNELS, SIDE_PX, BATCH, HIDDEN, OUTPUT = 8, 16, 8, 32, 16
LARS = {"trust_coefficient": 0.2, "momentum": 0.9, "weight_decay": 1.5e-6}
TRAJECTORY = {"steps": 10, "warmup_steps": 3, "peak_lr": 0.0003, "target_ema_base": 0.9, **LARS}
# First part of the input names and batch of the trajectories; README.md says how rates and inputs were chosen.
INPUT, INPUT_FOR_BF16, BATCH_FOR_BF16 = "input.d", "input.a", 32


class Online(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = networks.ResNet18(CHANNELS)
        self.projector = networks.Mlp(self.encoder.features, HIDDEN, OUTPUT)
        self.predictor = networks.Mlp(OUTPUT, HIDDEN, OUTPUT)

    def forward(self, view):
        return self.predictor(self.projector(self.encoder(view)))


class Target(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = networks.ResNet18(CHANNELS)
        self.projector = networks.Mlp(self.encoder.features, HIDDEN, OUTPUT)

    @torch.no_grad()
    def forward(self, view):
        return self.projector(self.encoder(view))


def build(dtype=torch.float64):
    """Both networks with their own weights; the running averages start empty."""
    networks_ = []
    for module, prefix in ((Online(), "online."), (Target(), "target.")):
        module.to(dtype)
        with torch.no_grad():
            for name, p in module.named_parameters():
                p.copy_(weights.parameter(prefix + name, p.shape))
        networks_.append(module)
    return networks_


def normalise(x):
    """x * rsqrt(max(sum x^2, 1e-12)), the reference's rule."""
    return x * torch.rsqrt(torch.clamp((x * x).sum(-1, keepdim=True), min=1e-12))


def regression_loss(p, z):
    """|| p/|p| - z/|z| ||^2 per image."""
    return ((normalise(p) - normalise(z)) ** 2).sum(-1)


def loss(online, target, view1, view2):
    """Sum of both directions, mean over the batch; every network sees view 1, then view 2, on its own."""
    p1, p2 = online(view1), online(view2)
    z1, z2 = target(view1), target(view2)
    return (regression_loss(p1, z2.detach()) + regression_loss(p2, z1.detach())).mean()


def views(name, batch, dtype):
    return [weights.picture(f"{name}.view{v}", batch, SIDE_PX).to(dtype) for v in (1, 2)]


def one_step(dtype=torch.float64) -> dict:
    online, target = build(dtype)
    value = loss(online, target, *views("input", BATCH, dtype))
    value.backward()
    out = {"loss": value}
    for name, p in online.named_parameters():
        out[f"grad.online.{name}"] = weights.sample(p.grad)
        out[f"norm.online.{name}"] = p.grad.norm()
    assert all(p.grad is None for p in target.parameters())
    return out


class Lars:
    """The reference's LARS; excluded tensors (rank 1) get neither weight decay nor trust scaling."""

    def __init__(self, params, trust_coefficient, momentum, weight_decay):
        self.params = list(params)
        self.momenta = [torch.zeros_like(p) for p in self.params]
        self.trust_coefficient, self.momentum, self.weight_decay = trust_coefficient, momentum, weight_decay

    @torch.no_grad()
    def step(self, lr, gradients):
        for p, m, g in zip(self.params, self.momenta, gradients):
            u = g.clone()
            if p.dim() > 1:
                u += self.weight_decay * p
                p_norm, u_norm = p.norm(), u.norm()
                if p_norm > 0 and u_norm > 0:
                    u *= self.trust_coefficient * p_norm / u_norm
            m.mul_(self.momentum).add_(u)
            p.sub_(lr * m)


@torch.no_grad()
def update_target(online, target, tau):
    theta = dict(online.named_parameters())
    for name, xi in target.named_parameters():
        xi += (1 - tau) * (theta[name] - xi)


def trajectory(accumulation: int, dtype=torch.float64, input=INPUT, batch=BATCH):
    """Returns per-step rows and the final state of both networks."""
    c = TRAJECTORY
    online, target = build(dtype)
    params = list(online.parameters())
    lars = Lars(params, **LARS)
    rows = []
    for k in range(c["steps"]):
        online.zero_grad()
        losses = []
        for m in range(accumulation):
            value = loss(online, target, *views(f"{input}.step{k}.micro{m}", batch, dtype))
            (value / accumulation).backward()  # gradients add up to the mean over micro-batches
            losses.append(value.item())
        lr = schedules.learning_rate(k, c["steps"], c["warmup_steps"], c["peak_lr"])
        tau = schedules.target_ema(k, c["steps"], c["target_ema_base"])
        lars.step(lr, [p.grad for p in params])
        update_target(online, target, tau)
        rows.append({"step": k, "loss": sum(losses) / accumulation, "lr": lr, "tau": tau})
    return rows, state(online, target)


def state(online, target) -> dict:
    out = {}
    for prefix, module in (("online.", online), ("target.", target)):
        for name, p in module.named_parameters():
            key = prefix + name
            out[f"value.{key}"] = weights.sample(p)
            out[f"norm.{key}"] = p.norm()
            out[f"delta_norm.{key}"] = (p - weights.parameter(key, p.shape)).norm()
        for name, buffer in module.named_buffers():
            out[f"value.{prefix}{name}"] = weights.sample(buffer)
            out[f"norm.{prefix}{name}"] = buffer.norm()
    return out
