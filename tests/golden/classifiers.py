"""Logistic regression, k-NN and their metrics as scikit-learn computes them, and VOC's average precision from its definition.

Writes crates/byol-eval/tests/data/evaluation.json; needs NumPy and scikit-learn only. See README.md.
"""

import json
import pathlib
import warnings
from fractions import Fraction

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol-eval" / "tests" / "data" / "evaluation.json"


def coarse(values, step=64):
    """Multiples of 1/64: exact in float32, few digits in JSON."""
    return np.round(np.asarray(values) * step) / step


def clusters(seed, count, size, classes, spread):
    """Features around class centres, and their labels."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, size))
    labels = np.arange(count) % classes
    return coarse(centres[labels] + spread * rng.normal(size=(count, size))), labels


def badly_scaled(seed, count, size, classes):
    """Features on scales from 1/16 to 2048, far from zero, the last two almost equal."""
    features, labels = clusters(seed, count, size, classes, 1.5)
    scales = 2.0 ** np.linspace(-4, 11, size).round()
    features = coarse(features * scales + 3 * scales, 256)
    features[:, -1] = features[:, -2] + coarse(np.random.default_rng(seed + 1).normal(size=count))
    return features, labels


def cross_entropy(logits, labels):
    highest = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return (log_sum - logits[np.arange(len(labels)), labels]).sum()


def logits_of(model, features):
    """[pictures, present classes]; scikit-learn has one column for two classes."""
    logits = features @ model.coef_.T + model.intercept_
    return np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits


def optimum(features, labels, l2):
    """The best of scikit-learn's L-BFGS and its Newton method, which agree where neither stops early: model and objective.

    C = 1 / l2 makes its objective C times `sum of cross-entropies + l2/2 |W|^2`.
    """
    found = []
    for solver in ("lbfgs", "newton-cholesky"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=1 / l2, solver=solver, tol=1e-12, max_iter=3000)
            model.fit(features, labels)
        places = np.searchsorted(model.classes_, labels)
        penalty = l2 / 2 * (model.coef_**2).sum()
        found.append((cross_entropy(logits_of(model, features), places) + penalty, solver, model))
    return min(found, key=lambda entry: entry[0]), max(entry[0] for entry in found)


def logistic(name, train, test, classes, strengths):
    """For two classes scikit-learn has one vector v; softmax has v/2 and −v/2, whose penalty is half of that of v."""
    (features, labels), (test_features, test_labels) = train, test
    of_one_vector = 0.5 if len(np.unique(labels)) == 2 else 1.0
    fits = []
    for l2 in strengths:
        (loss, solver, model), other = optimum(features, labels, l2 * of_one_vector)
        logits = logits_of(model, test_features)
        ranked = np.sort(logits, axis=1)
        margin = (ranked[:, -1] - ranked[:, -2]).min()
        predictions = model.predict(test_features)
        print(f"{name} l2 {l2:g}: loss {loss:.10f} ({solver}, the other {other - loss:+.1e}), smallest margin {margin:.1e}")
        fits.append({"l2": l2, "loss": loss, "margin": margin, "predictions": predictions.tolist()})
        if logits.shape[1] == classes and classes > 5:
            top5 = top_k_accuracy_score(test_labels, logits, k=5, labels=np.arange(classes))
            fits[-1] |= {"top1": (predictions == test_labels).mean(), "top5": top5}
    return {
        "name": name,
        "classes": classes,
        "size": features.shape[1],
        "train": {"features": features.ravel().tolist(), "labels": labels.tolist()},
        "test": {"features": test_features.ravel().tolist(), "labels": test_labels.tolist()},
        "fits": fits,
    }


def multinomial():
    two = clusters(5, 60, 4, 2, 1.0)
    missing = clusters(6, 80, 5, 5, 1.0)
    present = np.isin(missing[1], [0, 1, 3])
    return [
        logistic("overlapping", clusters(1, 120, 6, 7, 1.5), clusters(2, 60, 6, 7, 1.5), 7, [1e5, 1e2, 10, 1, 1e-2, 1e-6]),
        logistic("badly scaled", badly_scaled(3, 100, 8, 4), badly_scaled(4, 40, 8, 4), 4, [1e5, 10, 1e-1, 1e-4, 1e-6]),
        logistic("separable", clusters(7, 60, 5, 3, 0.1), clusters(8, 30, 5, 3, 0.1), 3, [10, 1e-1, 1e-4, 1e-6]),
        logistic("wide", clusters(9, 24, 40, 3, 3.0), clusters(10, 30, 40, 3, 3.0), 3, [1e2, 1e-1]),
        logistic("two classes", two, clusters(11, 30, 4, 2, 1.0), 2, [1e2, 1e-1]),
        logistic("missing classes", (missing[0][present], missing[1][present]), missing, 5, [1]),
    ]


def one_versus_rest():
    """Several classes per picture: a binary regression each, on the pictures where the class is not difficult."""
    rng = np.random.default_rng(20)
    count, size, classes = 80, 5, 4
    features = coarse(rng.normal(size=(count, size)))
    tendency = features @ rng.normal(size=(size, classes)) + rng.normal(size=(count, classes)) - 0.5
    presences = np.where(tendency > 0, 1, -1)
    presences[rng.random((count, classes)) < 0.1] = 0
    fits = []
    for l2 in (1e2, 1.0, 1e-2):
        total, scores = 0.0, []
        for presence in presences.T:
            known = presence != 0
            (loss, _, model), _ = optimum(features[known], (presence[known] > 0).astype(int), l2)
            total += loss
            scores.append(model.decision_function(features[:3]))
        fits.append({"l2": l2, "loss": total, "scores": np.array(scores).T.ravel().tolist()})
    return {
        "classes": classes,
        "size": size,
        "features": features.ravel().tolist(),
        "presences": presences.ravel().tolist(),
        "fits": fits,
    }


def neighbours():
    """scikit-learn's k-NN with votes exp(cosine / T); its distance is 1 − cosine."""
    classes, size = 8, 6
    (features, labels), (test_features, test_labels) = clusters(30, 90, size, classes, 1.0), clusters(31, 50, size, classes, 1.0)
    # A class that is never tested has no place in the mean.
    tested = test_labels != 6
    test_features, test_labels = test_features[tested], test_labels[tested]
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = -np.sort(-(unit(test_features) @ unit(features).T), axis=1)
    cases = []
    for k in (1, 5, 20):
        for temperature in (0.07, 0.1, 1.0):
            votes = lambda distance: np.exp((1 - distance) / temperature)
            model = KNeighborsClassifier(k, weights=votes, metric="cosine", algorithm="brute").fit(features, labels)
            shares = model.predict_proba(test_features)
            ranked = np.sort(shares, axis=1)
            margin, gap = (ranked[:, -1] - ranked[:, -2]).min(), (cosines[:, k - 1] - cosines[:, k]).min()
            assert margin > 1e-4 and gap > 1e-6, f"too close to a tie for float32: {margin} {gap}"
            predictions = model.predict(test_features)
            own = shares[np.arange(len(test_labels)), test_labels]
            ahead = (shares >= own[:, None]).sum(axis=1) - 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mean_per_class = balanced_accuracy_score(test_labels, predictions)
            cases.append({
                "k": k,
                "temperature": temperature,
                "predictions": predictions.tolist(),
                "top1": (predictions == test_labels).mean(),
                "top5": (ahead < 5).mean(),
                "mean_per_class": mean_per_class,
                "confusion": confusion_matrix(test_labels, predictions, labels=np.arange(classes)).tolist(),
            })
            print(f"k-NN k {k} T {temperature}: {cases[-1]['top1']:.3f}, smallest margin {margin:.1e}, smallest gap {gap:.1e}")
    return {
        "size": size,
        "train": {"features": features.ravel().tolist(), "labels": labels.tolist()},
        "test": {"features": test_features.ravel().tolist(), "labels": test_labels.tolist()},
        "cases": cases,
    }


def precision_at(recall, retrieved):
    """max over r' >= recall of precision(r'), where `retrieved` is the list of truths from the most confident on."""
    positives = sum(retrieved)
    best = Fraction(0)
    for length in range(1, len(retrieved) + 1):
        hits = sum(retrieved[:length])
        if Fraction(hits, positives) >= recall:
            best = max(best, Fraction(hits, length))
    return best


def eleven_points(scores, presence):
    """Everingham et al. 2010, 4.2, in exact fractions: difficult entries are dropped, equal confidences keep their order."""
    retrieved = [bool(presence[i] > 0) for i in np.argsort(-scores, kind="stable") if presence[i] != 0]
    if not any(retrieved):
        return None
    return float(sum(precision_at(Fraction(tenths, 10), retrieved) for tenths in range(11)) / 11)


def average_precisions():
    rng = np.random.default_rng(40)
    cases = []
    for name, count, classes, decimals in (("continuous", 60, 4, 6), ("ties", 80, 5, 1), ("constant", 30, 3, 0)):
        presences = rng.choice([1, -1, 0], p=[0.25, 0.6, 0.15], size=(count, classes))
        scores = np.round(0.35 * (presences > 0) + 0.65 * rng.random((count, classes)), decimals)
        if name == "constant":
            scores[:] = 0.5
        presences[0, 0], scores[0, 0] = 0, 2.0  # the most confident entry is a difficult one
        presences[:, -1] = np.where(presences[:, -1] > 0, -1, presences[:, -1])  # no positives: left out
        by_class = [eleven_points(scores[:, c], presences[:, c]) for c in range(classes)]
        cases.append({
            "name": name,
            "classes": classes,
            "scores": scores.ravel().tolist(),
            "presences": presences.ravel().tolist(),
            "by_class": by_class,
            "map": float(np.mean([value for value in by_class if value is not None])),
        })
        print(f"11-point AP, {name}: {by_class}")
    return cases


def main():
    results = {
        "multinomial": multinomial(),
        "one_versus_rest": one_versus_rest(),
        "knn": neighbours(),
        "average_precision": average_precisions(),
    }
    OUTPUT.write_text(json.dumps(results, separators=(",", ":")) + "\n")
    print(f"{OUTPUT.stat().st_size:8d} {OUTPUT.name}")


if __name__ == "__main__":
    main()
