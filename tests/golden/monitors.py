"""RankMe, alignment and uniformity of small random features, by numpy in float64 from the papers' formulas.

Needs nothing but numpy, so that it runs without the environment of the other programs.
"""

import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol-eval" / "tests" / "data" / "geometry.json"


def rank_me(features, epsilon=1e-7):
    """Garrido et al. 2023, eq. 1: exp of the entropy of the singular values."""
    sigma = np.linalg.svd(features, compute_uv=False)
    p = sigma / np.abs(sigma).sum() + epsilon
    return np.exp(-(p * np.log(p)).sum())


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def alignment(x, y, alpha=2):
    """Wang & Isola 2020, listing 1: `(x - y).norm(p=2, dim=1).pow(alpha).mean()`."""
    return (np.linalg.norm(x - y, axis=1) ** alpha).mean()


def uniformity(x, t=2):
    """Wang & Isola 2020, listing 1: `torch.pdist(x, p=2).pow(2).mul(-t).exp().mean().log()`."""
    first, second = np.triu_indices(len(x), k=1)
    squared = ((x[first] - x[second]) ** 2).sum(1)
    return np.log(np.exp(-t * squared).mean())


def case(name, view1, view2):
    # Both sides start from the same float32 numbers.
    view1, view2 = (view.astype(np.float32).astype(np.float64) for view in (view1, view2))
    return {
        "name": name,
        "view1": view1.tolist(),
        "view2": view2.tolist(),
        "rank_me": rank_me(view1),
        "alignment": alignment(unit(view1), unit(view2)),
        "uniformity": uniformity(unit(view1)),
    }


def main():
    random = np.random.default_rng(0)
    normal = lambda *shape: random.normal(size=shape).round(4)
    wide, tall = normal(6, 10), normal(40, 5)
    # The spectrum of a representation after a ReLU: a large mean direction and a long tail.
    decaying = np.abs(normal(30, 8) * 0.5 ** np.arange(8)) + 1
    low = normal(20, 2) @ normal(2, 6)
    # More rows than one block of the Rust side.
    many = normal(300, 3) + [2, 0, 0]
    near = lambda view: view + 0.3 * normal(*view.shape)
    cases = [case(name, view, near(view)) for name, view in
             [("wide", wide), ("tall", tall), ("decaying", decaying), ("rank two", low), ("many", many)]]
    PATH.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    for c in cases:
        print(c["name"], c["rank_me"], c["alignment"], c["uniformity"])


if __name__ == "__main__":
    main()
