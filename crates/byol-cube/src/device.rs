//! Which graphics cards there are, and how they are named.

use cubecl::Device;
use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};

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
    let behind =
        |door: Door| door.devices().into_iter().enumerate().map(move |(number, device)| card(door, number, &device));
    built.flat_map(behind).collect()
}

fn card(door: Door, number: usize, device: &Device) -> Card {
    let client = device.client();
    Card {
        name: format!("{}:{number}", door.name()),
        model: client.properties().identity.name.clone(),
        memory_bytes: client.properties().memory.max_memory(),
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
pub fn open(name: &str) -> Result<(Device, Card), String> {
    if name == "gpu" {
        let first = |door: Door| Some((door, door.devices().into_iter().next()?));
        let (door, device) = Door::ALL
            .into_iter()
            .filter(|door| door.is_built())
            .find_map(first)
            .ok_or_else(|| format!("a graphics card, and there is none behind {}", doors_built()))?;
        return Ok((device.clone(), card(door, 0, &device)));
    }
    let (door, number) = name.split_once(':').unwrap_or((name, "0"));
    let door = Door::ALL.into_iter().find(|known| known.name() == door);
    let (Some(door), Ok(number)) = (door, number.parse::<usize>()) else {
        return Err(format!(
            "cpu, gpu, or one of {} with a number, as in cuda:0",
            Door::ALL.map(Door::name).join(", ")
        ));
    };
    if !door.is_built() {
        let built = doors_built();
        return Err(format!("cpu, or a card behind {built}; a build with `--features {0}` has {0}, too", door.name()));
    }
    let mut devices = door.devices();
    if number < devices.len() {
        let device = devices.swap_remove(number);
        let card = card(door, number, &device);
        return Ok((device, card));
    }
    Err(match (devices.len(), door) {
        (0, Door::Cuda) => {
            "NVIDIA's driver (libcuda) and a card; `nvidia-smi` shows what it finds, which is nothing".to_owned()
        }
        (0, Door::Rocm) => "ROCm (libamdhip64) and a card; `rocminfo` shows what it finds, which is nothing".to_owned(),
        (0, Door::Wgpu) => {
            "a driver of Vulkan, DX12 or Metal and a card; `vulkaninfo` shows what Vulkan finds, which is nothing"
                .to_owned()
        }
        (count, _) => format!("a number below {count}, as many cards as there are; `byol devices` lists them"),
    })
}

fn doors_built() -> String {
    let names: Vec<&str> = Door::ALL.into_iter().filter(|door| door.is_built()).map(Door::name).collect();
    names.join(" or ")
}
