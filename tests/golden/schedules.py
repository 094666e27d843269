"""Learning rate and target-update rate as functions of the step, spec 2.2 and 4.2."""

import math


def learning_rate(k, steps, warmup_steps, peak):
    if k < warmup_steps:
        return peak * k / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * (k - warmup_steps) / (steps - warmup_steps)))


def target_ema(k, steps, base):
    return 1 - (1 - base) * 0.5 * (1 + math.cos(math.pi * min(k, steps) / steps))


IMAGENET = 1_281_167
# name: images, batch, epochs, base learning rate, base target EMA. The last row is a schedule to check the formulas on.
PRESETS = {
    "imagenet-40": (IMAGENET, 4096, 40, 0.45, 0.97),
    "imagenet-100": (IMAGENET, 4096, 100, 0.45, 0.99),
    "imagenet-300": (IMAGENET, 4096, 300, 0.3, 0.99),
    "imagenet-1000": (IMAGENET, 4096, 1000, 0.2, 0.996),
    "imagenet-1000-batch-512": (IMAGENET, 512, 1000, 0.4, 0.9995),
    "imagenette-128": (9_469, 256, 1000, 2.0, 0.996),
    "cifar10-like": (50_000, 256, 1000, 1.0, 0.99),
}
# Spec 4.2 and 4.3 print these.
PRINTED_STEPS = {
    "imagenet-40": 12_511,
    "imagenet-100": 31_278,
    "imagenet-300": 93_835,
    "imagenet-1000": 312_784,
    "imagenet-1000-batch-512": 2_502_279,
    "imagenette-128": 36_988,
}


def presets() -> list:
    rows = []
    for name, (images, batch, epochs, base, ema) in PRESETS.items():
        steps, warmup = epochs * images // batch, 10 * images // batch
        assert steps == PRINTED_STEPS.get(name, steps), name
        peak = base * batch / 256
        at = [0, 1, warmup - 1, warmup, warmup + 1, steps // 2, steps - 1, steps]
        rows.append(
            {
                "name": name,
                "images": images,
                "batch": batch,
                "epochs": epochs,
                "warmup_epochs": 10,
                "base_lr": base,
                "target_ema_base": ema,
                "steps": steps,
                "warmup_steps": warmup,
                "peak_lr": peak,
                "at": [
                    {"k": k, "lr": learning_rate(k, steps, warmup, peak), "tau": target_ema(k, steps, ema)} for k in at
                ],
            }
        )
    return rows
