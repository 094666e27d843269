//! Values on a device.

use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::BufferArg;
use cubecl::server::Handle;

/// The type of values on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 24 bits of precision.
    F32,
    /// 8 bits of precision with the range of `f32`.
    Bf16,
    /// 11 bits of precision up to 65504.
    F16,
}

impl Kind {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    pub(crate) fn elem(self) -> ElemType {
        ElemType::Float(match self {
            Self::F32 => FloatKind::F32,
            Self::Bf16 => FloatKind::BF16,
            Self::F16 => FloatKind::F16,
        })
    }

    /// How many neighbours one access of 16 bytes holds, of rows of `len` values.
    pub(crate) fn vector(self, len: usize) -> usize {
        let mut vector = 16 / self.bytes();
        while !len.is_multiple_of(vector) {
            vector /= 2;
        }
        vector
    }
}

/// Values of one type on a device, one after the other.
#[derive(Clone)]
pub struct Array {
    /// Where they are and who computes.
    pub client: Client,
    /// The memory.
    pub handle: Handle,
    /// Number of values.
    pub len: usize,
    /// Their type.
    pub kind: Kind,
}

impl Array {
    /// Memory for `len` values, not written yet.
    ///
    /// # Panics
    /// For more values than kernels count to, 2³² − 1.
    pub fn empty(client: &Client, len: usize, kind: Kind) -> Self {
        assert!(u32::try_from(len).is_ok(), "an array of {len} values; kernels count to {}", u32::MAX);
        Self { client: client.clone(), handle: client.empty(len * kind.bytes()), len, kind }
    }

    /// `values`, on the device.
    pub fn from_f32(client: &Client, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { client: client.clone(), handle: client.create_from_slice(&bytes), len: values.len(), kind: Kind::F32 }
    }

    /// The values of an array of `f32`. Waits for the device.
    pub fn to_f32(&self) -> Vec<f32> {
        assert_eq!(self.kind, Kind::F32);
        let bytes = self.client.read_one_unchecked(self.handle.clone());
        bytes.as_chunks::<4>().0.iter().take(self.len).map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// The argument of a kernel.
    #[expect(unsafe_code, reason = "the length is that of the memory")]
    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: `handle` holds `len` values of `kind`, as both constructors see to and whoever builds an array by hand promises.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}
