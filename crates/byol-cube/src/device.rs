//! Which graphics cards there are, and how they are named.

use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::Device;

use crate::array::Kind;
use crate::tile::has_matrix_units;

/// A way to reach a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// NVIDIA's own driver.
    Cuda,
    /// AMD's own.
    Rocm,
    /// Whatever graphics driver there is: Vulkan, DX12 or Metal.
    Wgpu,
}

impl Door {
    /// All, the fastest first.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Rocm, Self::Wgpu];

    /// Its name, also that of the feature it needs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    fn of(device: &Device) -> Option<Self> {
        match device {
            Device::Cuda(_) => Some(Self::Cuda),
            Device::Hip(_) => Some(Self::Rocm),
            Device::Wgpu(_) => Some(Self::Wgpu),
            _ => None,
        }
    }

    /// The cards behind it, in the order of their numbers.
    fn devices(self) -> Vec<Device> {
        Device::enumerate_all().into_iter().filter(|device| Self::of(device) == Some(self)).collect()
    }
}

/// A card that was found.
#[derive(Clone, Debug)]
pub struct Card {
    /// What `--device` calls it: `cuda:0`.
    pub name: String,
    /// What its driver calls it.
    pub model: String,
    /// Its memory in bytes, where the driver tells.
    pub memory_bytes: Option<u64>,
    /// Whether activations can be `bf16`.
    pub bf16: bool,
    /// Whether they can be `f16`.
    pub f16: bool,
    /// Whether it multiplies matrices of `bf16` by units of their own.
    pub matrix_units: bool,
}

/// Every card behind every door of this build. Opens all of them.
pub fn cards() -> Vec<Card> {
    let built = Door::ALL.into_iter().filter(|door| door.is_built());
    built
        .flat_map(|door| {
            door.devices().into_iter().enumerate().map(move |(index, device)| card(format!("{}:{index}", door.name()), &device))
        })
        .collect()
}

fn card(name: String, device: &Device) -> Card {
    let client = device.client();
    let properties = client.properties();
    Card {
        name,
        model: properties.identity.name.clone(),
        memory_bytes: None,
        bf16: computes(&client, Kind::Bf16),
        f16: computes(&client, Kind::F16),
        matrix_units: has_matrix_units(&client, Kind::Bf16),
    }
}

/// Whether kernels of this device can read, write and compute with values of `kind`.
pub fn computes(client: &Client, kind: Kind) -> bool {
    use cubecl::features::TypeUsage;
    let float = match kind {
        Kind::F32 => FloatKind::F32,
        Kind::Bf16 => FloatKind::BF16,
        Kind::F16 => FloatKind::F16,
    };
    let usage = client.properties().type_usage(ElemType::Float(float));
    usage.is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
}

/// The card called `name`: `gpu` for the first there is, or a door and a number, `cuda:1`; a door alone is its first card.
///
/// # Errors
/// What is expected instead.
pub fn open(name: &str) -> Result<Device, String> {
    if name == "gpu" {
        let found = Door::ALL.into_iter().filter(|door| door.is_built()).find_map(|door| door.devices().into_iter().next());
        return found.ok_or_else(|| format!("a graphics card, and there is none behind {}", doors_built()));
    }
    let (door, number) = name.split_once(':').unwrap_or((name, "0"));
    let door = Door::ALL.into_iter().find(|known| known.name() == door);
    let (Some(door), Ok(number)) = (door, number.parse::<usize>()) else {
        return Err(format!("cpu, gpu, or one of {} with a number, as in cuda:0", Door::ALL.map(Door::name).join(", ")));
    };
    if !door.is_built() {
        let feature = door.name();
        return Err(format!("{}; a build with `--features {feature}` has {feature}, too", doors_built()));
    }
    let mut devices = door.devices();
    match (devices.len(), door) {
        (count, _) if number < count => Ok(devices.swap_remove(number)),
        (0, Door::Cuda) => Err("a driver of NVIDIA (libcuda) that finds a card; `nvidia-smi` shows what it finds".to_owned()),
        (0, Door::Rocm) => Err("ROCm (libamdhip64) that finds a card; `rocminfo` shows what it finds".to_owned()),
        (0, Door::Wgpu) => Err("a driver of Vulkan, DX12 or Metal that finds a card; `vulkaninfo` shows what Vulkan finds".to_owned()),
        (count, _) => Err(format!("a number below {count}, as many cards as were found; `byol devices` lists them")),
    }
}

fn doors_built() -> String {
    let names: Vec<&str> = Door::ALL.into_iter().filter(|door| door.is_built()).map(Door::name).collect();
    format!("cpu or a card behind {}", names.join(", "))
}

