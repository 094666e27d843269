//! Arrays one after the other in one piece of memory, so that a kernel passes over all tensors of a network at once.

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// Values of a block; every array begins with a block of its own, so that a cube has values of one array. Devices bind memory at multiples of
/// at most 256 bytes.
pub(crate) const BLOCK: usize = 1024;

/// Values that a unit has of a block.
pub(crate) const PER_UNIT: usize = BLOCK / UNITS;

/// Values of an arena: what every device binds at once. Only a larger array makes a larger one.
const MAX_LEN: usize = 16 << 20;

/// Arrays that are gathered by one kernel, where the device binds so many.
const MAX_PARTS: usize = 16;

/// Arrays of `f32` one after the other. Between them lies nothing that counts.
pub(crate) struct Arena {
    pub client: Client,
    handle: Handle,
    /// Number of values of each array.
    lens: Vec<usize>,
}

impl Arena {
    /// Room for arrays of these lengths, not written yet.
    pub fn empty(client: &Client, lens: &[usize]) -> Self {
        Self { client: client.clone(), handle: client.empty(end(lens) * 4), lens: lens.to_vec() }
    }

    /// Two arrays of one length, not written yet.
    pub fn pair(client: &Client, len: usize) -> [Array; 2] {
        let arena = Self::empty(client, &[len; 2]);
        let mut arrays = arena.arrays();
        [(); 2].map(|()| arrays.next().expect("two"))
    }

    /// Room for arrays of the same lengths.
    pub fn empty_like(&self) -> Self {
        Self::empty(&self.client, &self.lens)
    }

    /// These arrays: where they are, if they lie one after the other already, or copied.
    pub fn of(arrays: &[Array]) -> Self {
        Self::in_place(arrays).unwrap_or_else(|| Self::gathered(arrays, 1.0, None))
    }

    fn in_place(arrays: &[Array]) -> Option<Self> {
        assert!(arrays.iter().all(|array| array.kind == Kind::F32), "arenas are of f32");
        let first = &arrays[0].handle;
        let from = first.offset_start.unwrap_or(0);
        let lens: Vec<usize> = arrays.iter().map(|array| array.len).collect();
        let mut next = from;
        for (Array { handle, .. }, len) in arrays.iter().zip(&lens) {
            let follows = memory_of(handle) == memory_of(first) && handle.offset_start.unwrap_or(0) == next;
            if !follows {
                return None;
            }
            next += (len.next_multiple_of(BLOCK) * 4) as u64;
        }
        let handle = part(first, from, from + (end(&lens) * 4) as u64);
        Some(Self { client: arrays[0].client.clone(), handle, lens })
    }

    /// `sum + scale · x`, or `scale · x` without a sum, of the same lengths.
    pub fn gathered(x: &[Array], scale: f32, sum: Option<&Self>) -> Self {
        let client = &x[0].client;
        let lens: Vec<usize> = x.iter().map(|array| array.len).collect();
        assert!(sum.is_none_or(|sum| sum.lens == lens), "sums of other tensors");
        assert!(x.iter().all(|array| array.kind == Kind::F32), "arenas are of f32");
        let out = Self::empty(client, &lens);
        let places = out.places();
        let sum_values = sum.map_or_else(|| Array::empty(client, 4, Kind::F32), Self::values);
        // Beside them are bound: what they are added to, the output, the places, and the numbers of the launch.
        let at_once = (client.properties().hardware.max_bindings as usize).saturating_sub(4).clamp(1, MAX_PARTS);
        let mut first_block = 0;
        for (group, parts) in x.chunks(at_once).enumerate() {
            let block_count = blocks(&lens[group * at_once..][..parts.len()]);
            let mut arguments = SequenceArg::new();
            for part in parts {
                arguments.push(part.arg());
            }
            // SAFETY: the kernel checks its index against the lengths, which sum and output have as well.
            #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
            unsafe {
                collect::launch_unchecked(
                    client,
                    grid(block_count, 1),
                    CubeDim::new_1d(UNITS as u32),
                    arguments,
                    sum_values.arg(),
                    out.values().arg(),
                    places.arg(),
                    (group * at_once) as u32,
                    first_block as u32,
                    block_count as u32,
                    scale,
                    sum.is_some(),
                );
            }
            first_block += block_count;
        }
        out
    }

    /// Number of values of each array.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        blocks(&self.lens)
    }

    /// All values, and what lies between the arrays.
    pub fn values(&self) -> Array {
        Array { client: self.client.clone(), handle: self.handle.clone(), len: end(&self.lens), kind: Kind::F32 }
    }

    /// The first block of every array, then the length of every array: what kernels find their array by, as numbers of `u32`.
    pub fn places(&self) -> Places {
        let mut next = 0;
        let firsts = self.lens.iter().map(|len| {
            let first = next;
            next += len.div_ceil(BLOCK) as u32;
            first
        });
        let firsts: Vec<u32> = firsts.collect();
        let numbers = firsts.into_iter().chain(self.lens.iter().map(|&len| len as u32));
        let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
        Places { handle: self.client.create_from_slice(&bytes), len: 2 * self.lens.len() }
    }

    /// The arrays, which keep all of the memory as long as one of them is held.
    pub fn arrays(&self) -> impl Iterator<Item = Array> {
        let mut next = self.handle.offset_start.unwrap_or(0);
        self.lens.iter().map(move |&len| {
            let (from, to) = (next, next + (len * 4) as u64);
            next += (len.next_multiple_of(BLOCK) * 4) as u64;
            let handle = part(&self.handle, from, to);
            Array { client: self.client.clone(), handle, len, kind: Kind::F32 }
        })
    }
}

/// See [`Arena::places`].
pub(crate) struct Places {
    handle: Handle,
    len: usize,
}

impl Places {
    #[expect(unsafe_code, reason = "the length is that of the memory")]
    pub fn arg(&self) -> BufferArg {
        // SAFETY: the memory was made of so many numbers.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}

/// How a list of arrays of these lengths is divided into arenas: the number of arrays of each. The same for a list and for the beginning of
/// it, but for the last.
pub(crate) fn division(lens: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut counts, mut room) = (Vec::new(), 0);
    for len in lens {
        let len = len.next_multiple_of(BLOCK);
        match counts.last_mut() {
            Some(count) if len <= room => {
                *count += 1;
                room -= len;
            }
            _ => {
                counts.push(1);
                room = MAX_LEN.saturating_sub(len);
            }
        }
    }
    counts
}

fn blocks(lens: &[usize]) -> usize {
    lens.iter().map(|len| len.div_ceil(BLOCK)).sum()
}

/// Values up to the end of the last array, whose last block need not be whole.
fn end(lens: &[usize]) -> usize {
    lens.split_last().map_or(0, |(last, before)| blocks(before) * BLOCK + last)
}

/// Which memory a handle shows a part of.
pub(crate) fn memory_of(handle: &Handle) -> impl Ord + use<> {
    handle.memory.clone().binding().id()
}

/// The bytes from `from` up to `to` of the memory that a handle shows a part of.
fn part(handle: &Handle, from: u64, to: u64) -> Handle {
    let mut part = handle.clone();
    part.offset_end = Some(whole_size(handle) - to);
    part.offset_start = Some(from);
    part
}

/// Bytes of the memory that a handle shows a part of.
fn whole_size(handle: &Handle) -> u64 {
    handle.size_in_used() + handle.offset_start.unwrap_or(0) + handle.offset_end.unwrap_or(0)
}

/// The array that a block belongs to: the last whose first block is not behind it.
#[cube]
pub(crate) fn array_of(block: u32, places: &[u32]) -> u32 {
    let mut low = 0u32;
    let mut high = places.len() as u32 / 2;
    while high - low > 1 {
        let middle = (low + high) / 2;
        if places[middle as usize] <= block {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// How many values of its array a block holds, from its first on; more than [`BLOCK`] means all.
#[cube]
pub(crate) fn values_left(block: u32, array: u32, places: &[u32]) -> u32 {
    let count = places.len() as u32 / 2;
    places[(count + array) as usize] - (block - places[array as usize]) * comptime!(BLOCK as u32)
}

/// One cube copies a block of one of `parts`, which are the arrays from `first_part` on.
#[cube(launch_unchecked)]
fn collect(
    parts: &Sequence<Box<[f32]>>,
    sum: &[f32],
    out: &mut [f32],
    places: &[u32],
    first_part: u32,
    first_block: u32,
    blocks: u32,
    scale: f32,
    #[comptime] adds: bool,
) {
    let own = CUBE_POS as u32;
    if own >= blocks {
        terminate!();
    }
    let block = first_block + own;
    let array = array_of(block, places);
    let left = values_left(block, array, places);
    let in_array = (block - places[array as usize]) * comptime!(BLOCK as u32);
    #[unroll]
    for i in 0..PER_UNIT {
        let at = UNIT_POS + comptime!((i * UNITS) as u32);
        if at < left {
            let mut value = 0.0f32;
            #[unroll]
            for part in 0..parts.len() {
                if array == first_part + comptime!(part as u32) {
                    value = scale * parts.index(part)[(in_array + at) as usize];
                }
            }
            let to = (block * comptime!(BLOCK as u32) + at) as usize;
            if comptime!(adds) {
                value += sum[to];
            }
            out[to] = value;
        }
    }
}
