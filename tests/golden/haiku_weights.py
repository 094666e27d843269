"""Rebuilds crates/byol-nn/tests/data/haiku_*: ResNets of Haiku, saved as BYOL's reference saves them and in other forms.

The networks follow deepmind-research's byol/utils/networks.py and byol_experiment.py: a torso of Haiku's own block groups, with projector,
predictor and classifier. They are so narrow (stem of one channel) that files stay small. Running statistics come from training passes, so
that they are not yet what they will be. `haiku_representations.safetensors` holds what JAX computes with them in evaluation mode, in float64 from the numbers as they
are stored, of the batch of `pictures`.
"""

import pathlib
import pickle
import sys
import types
from typing import Any, NamedTuple

import dill
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from haiku._src.data_structures import frozendict
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)

DATA = pathlib.Path(__file__).resolve().parents[2] / "crates" / "byol-nn" / "tests" / "data"
BATCH = 2
BN_CONFIG = {"decay_rate": 0.9, "eps": 1e-5, "create_scale": True, "create_offset": True}
RESNET_18 = ((2, 2, 2, 2), False)
RESNET_50 = ((3, 4, 6, 3), True)


def initial_conv(channels, kernel):
    return hk.Conv2D(channels, kernel, 2 if kernel == 7 else 1, with_bias=False, padding="SAME", name="initial_conv")


class Torso(hk.Module):
    """The reference's ResNet with `channels` instead of 64; a 3x3 stem has stride 1 and no pooling."""

    def __init__(self, kind, channels, kernel, name):
        super().__init__(name=name)
        blocks, bottleneck = kind
        self.imagenet = kernel == 7
        self.initial_conv = initial_conv(channels, kernel)
        self.initial_batchnorm = hk.BatchNorm(name="initial_batchnorm", **BN_CONFIG)
        self.groups = [
            hk.nets.ResNet.BlockGroup(
                channels=channels * 2**i * (4 if bottleneck else 1),
                num_blocks=blocks[i],
                stride=1 if i == 0 else 2,
                bn_config=BN_CONFIG,
                resnet_v2=False,
                bottleneck=bottleneck,
                use_projection=True,
                name=f"block_group_{i}",
            )
            for i in range(4)
        ]

    def __call__(self, x, is_training):
        x = jax.nn.relu(self.initial_batchnorm(self.initial_conv(x), is_training))
        if self.imagenet:
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for group in self.groups:
            x = group(x, is_training, False)
        return x.mean(axis=(1, 2))


class BuiltTwice(Torso):
    """As a class above another may build its first layer again; Haiku calls the second one `initial_conv_1`."""

    def __init__(self, kind, channels, kernel, name):
        super().__init__(kind, channels, kernel, name)
        self.initial_conv = initial_conv(channels, kernel)


class Library(hk.Module):
    """Haiku's own ResNet-18: no projection in the first group, and a layer for three classes."""

    def __init__(self, kind, channels, kernel, name):
        super().__init__(name=name)
        blocks, bottleneck = kind
        self.net = hk.nets.ResNet(
            blocks,
            3,
            BN_CONFIG,
            bottleneck=bottleneck,
            channels_per_group=[channels * 2**i for i in range(4)],
            use_projection=(False, True, True, True),
            initial_conv_config={"output_channels": channels},
            name="res_net18",
        )

    def __call__(self, x, is_training):
        self.net(x, is_training)
        # What its layer for classes takes.
        x = self.net.initial_conv(x)
        x = hk.max_pool(jax.nn.relu(self.net.initial_batchnorm(x, is_training)), (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for group in self.net.block_groups:
            x = group(x, is_training, False)
        return x.mean(axis=(1, 2))


class MLP(hk.Module):
    """Projector and predictor."""

    def __call__(self, x, is_training):
        x = hk.Linear(3)(x)
        x = jax.nn.relu(hk.BatchNorm(**BN_CONFIG)(x, is_training))
        return hk.Linear(2, with_bias=False)(x)


def pictures(channels, side_px):
    """[2, side, side, channels]; value i is (7919 i mod 1009) / 504 - 1."""
    values = (np.arange(BATCH * side_px * side_px * channels) * 7919 % 1009) / 504 - 1
    return values.reshape(BATCH, side_px, side_px, channels)


def network(torso, kind, name, seed, channels=1, inputs=3, kernel=7, dtype=np.float32, heads=True):
    """Parameters and state after two training passes as NumPy arrays, and the representations of `pictures` in float64."""
    side_px = 64 if kernel == 7 else 32

    def all_of_it(x, is_training):
        y = torso(kind, channels, kernel, name)(x, is_training)
        if heads:
            MLP(name="predictor")(MLP(name="projector")(y, is_training), is_training)
            hk.Linear(3, name="classifier")(y)
        return y

    random = np.random.RandomState(seed)
    whole = hk.without_apply_rng(hk.transform_with_state(all_of_it))
    train = jax.jit(lambda *arguments: whole.apply(*arguments, is_training=True)[1])
    batches = random.standard_normal((2, 4, side_px, side_px, inputs)).astype(np.float32)
    params, state = whole.init(jax.random.PRNGKey(seed), batches[0], is_training=True)

    def moved(key, value):
        """Scales, offsets and biases as they are after training: not 1 and 0, and at the end of a bottleneck not 0."""
        noise = random.uniform(-0.5, 0.5, value.shape)
        moved = {"scale": 1 + noise, "offset": noise, "b": noise}.get(key, np.asarray(value))
        return moved.astype(np.float32)

    params = {name: {key: moved(key, value) for key, value in of.items()} for name, of in params.items()}
    for batch in batches:
        state = train(params, state, batch)
    floats = lambda tree, dtype: jax.tree.map(lambda x: x if x.dtype.kind == "i" else x.astype(dtype), tree)
    params, state = floats(jax.tree.map(np.asarray, (params, state)), dtype)
    exact = floats((params, state), np.float64)
    y, _ = whole.apply(*exact, pictures(inputs, side_px), is_training=False)
    assert y.dtype == np.float64
    return params, state, np.asarray(y)


def module(name, **members):
    """A module that can be imported, so that what is in it is pickled by name."""
    made = types.ModuleType(name)
    for key, value in members.items():
        value.__module__ = name
        value.__qualname__ = value.__name__ = key
        setattr(made, key, value)
    sys.modules[name] = made


class ByolState(NamedTuple):
    online_params: Any
    target_params: Any
    online_state: Any
    target_state: Any
    opt_state: Any


class EvalState(NamedTuple):
    backbone_params: Any
    classif_params: Any
    backbone_state: Any
    backbone_opt_state: Any
    classif_opt_state: Any


class AddWeightDecayState(NamedTuple):
    """Has no field."""


class LarsState(NamedTuple):
    mu: Any


def reconstruct_device_array(fun, args, state, _):
    array = fun(*args)
    array.__setstate__(state)
    return array


class DeviceArray:
    """Is pickled as JAX 0.2.25 to 0.4.1 pickled its arrays."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        return reconstruct_device_array, (*self.array.__reduce__(), {"weak_type": False, "named_shape": {}})


def other(tree):
    """Another network of the same shape."""
    return jax.tree.map(lambda x: x + 1 if x.dtype.kind == "f" else x, tree)


def immutable(tree):
    return hk.data_structures.to_immutable_dict(tree)


def frozen(tree, leaf):
    return frozendict({name: frozendict({key: leaf(x) for key, x in values.items()}) for name, values in tree.items()})


def main():
    for name in ("byol", "byol.utils"):
        module(name)
    module("byol.byol_experiment", _ByolExperimentState=ByolState)
    module("byol.eval_experiment", _EvalExperimentState=EvalState)
    module("byol.utils.optimizers", AddWeightDecayState=AddWeightDecayState, ScaleByLarsState=LarsState)
    module("jax._src.device_array", reconstruct_device_array=reconstruct_device_array)
    representations = {}
    rng = np.array([0, 7], np.uint32)

    # As the reference saves: by dill, protocol 2, with the moments of LARS, which have the names of the parameters.
    params, state, y = network(Torso, RESNET_18, "res_net18", 1)
    both = [immutable(tree) for tree in (params, other(params), state, other(state))]
    saved = ByolState(*both, opt_state=(AddWeightDecayState(), LarsState(mu=immutable(other(params)))))
    content = {"experiment_state": saved, "step": 312784, "rng": rng}
    (DATA / "haiku_byol.pkl").write_bytes(dill.dumps(content, protocol=2))
    representations["haiku_byol.pkl"] = y

    # By pickle, with the classes of older versions of Haiku and JAX.
    params, state, y = network(BuiltTwice, RESNET_18, "res_net18", 2)
    both = [frozen(tree, DeviceArray) for tree in (params, other(params), state, other(state))]
    content = {"experiment_state": ByolState(*both, opt_state=None), "step": 7, "rng": rng}
    (DATA / "haiku_frozen.pkl").write_bytes(pickle.dumps(content, protocol=3))
    representations["haiku_frozen.pkl"] = y

    # Of the evaluation, whose network has no heads; JAX's arrays.
    params, state, y = network(Torso, RESNET_50, "res_net50", 3, heads=False)
    params, state = (immutable(jax.tree.map(jnp.asarray, tree)) for tree in (params, state))
    classifier = immutable({"linear": {"w": jnp.ones((32, 3)), "b": jnp.zeros(3)}})
    content = {"experiment_state": EvalState(params, classifier, state, None, ()), "step": 7, "rng": jnp.asarray(rng)}
    (DATA / "haiku_eval.pkl").write_bytes(pickle.dumps(content, protocol=4))
    representations["haiku_eval.pkl"] = y

    # Haiku's own network in bfloat16, in plain dictionaries.
    params, state, y = network(Library, RESNET_18, "library", 4, heads=False, dtype=jnp.bfloat16)
    content = {"params": params, "state": state, "opt_state": {"mu": other(params)}}
    (DATA / "haiku_library_bf16.pkl").write_bytes(pickle.dumps(content, protocol=4))
    representations["haiku_library_bf16.pkl"] = y

    # A 3x3 stem and one channel, in float16; a tuple; every other array in Fortran's order.
    params, state, y = network(Torso, RESNET_18, "encoder", 5, inputs=1, kernel=3, heads=False, dtype=np.float16)
    leaves, tree = jax.tree.flatten((params, state))
    leaves = [np.asfortranarray(x) if place % 2 else x for place, x in enumerate(leaves)]
    content = (*jax.tree.unflatten(tree, leaves), (LarsState(mu=other(params)),))
    (DATA / "haiku_cifar_f16.pkl").write_bytes(pickle.dumps(content, protocol=5))
    representations["haiku_cifar_f16.pkl"] = y

    save_file({name: y.astype(np.float32) for name, y in representations.items()}, DATA / "haiku_representations.safetensors")
    for path in sorted(DATA.glob("haiku_*")):
        print(f"{path.stat().st_size:8d} {path.name}")


if __name__ == "__main__":
    main()
