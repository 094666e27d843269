//! The kernels against sums in `f64`, on emulated tiles everywhere and on the machine's own where it has them.
#![expect(unsafe_code, reason = "calls the kernels with pointers into guarded memory")]

use super::emulated::Emulated;
use super::tiles::TILE;
use super::*;
use crate::isa::Isa;

/// A pair of `bf16` NaN: whatever is not to be read.
const POISON: u32 = 0x7fc0_7fc0;

/// Pseudo-random numbers, the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// In -1..1, a `bf16`.
    fn value(&mut self) -> f32 {
        (self.next() % 256) as f32 / 128.0 - 1.0
    }

    fn unit(&mut self) -> u32 {
        self.value().to_bits() >> 16 | self.value().to_bits()
    }

    fn units(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.unit()).collect()
    }
}

/// The two `bf16` of a unit.
fn pair(unit: u32) -> [f64; 2] {
    [f32::from_bits(unit << 16).into(), f32::from_bits(unit & 0xffff_0000).into()]
}

/// Memory that ends where a page begins that must not be touched, or begins where one ends.
struct Guarded {
    mapping: *mut libc::c_void,
    bytes: usize,
    units: *mut u32,
    len: usize,
}

impl Guarded {
    const PAGE: usize = 4096;

    fn new(units: &[u32], at_end: bool) -> Self {
        let inner = size_of_val(units).next_multiple_of(Self::PAGE);
        let bytes = inner + 2 * Self::PAGE;
        // SAFETY: a fresh private mapping, of which everything but the first and the last page becomes accessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let mapping = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            let start = mapping.byte_add(Self::PAGE);
            assert_eq!(libc::mprotect(start, inner, libc::PROT_READ | libc::PROT_WRITE), 0);
            let start = start.byte_add(if at_end { inner - size_of_val(units) } else { 0 }).cast::<u32>();
            start.copy_from_nonoverlapping(units.as_ptr(), units.len());
            Self { mapping, bytes, units: start, len: units.len() }
        }
    }

    fn slice(&self) -> &[u32] {
        // SAFETY: the mapping holds `len` units for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.units, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.mapping, self.bytes) };
    }
}

/// The largest error of a sum of products of `bf16`: the products are exact, and each passes through at most 17 additions
/// in its tile and one for every tile, each off by 2⁻²⁴ of what is at most the sum of magnitudes.
fn bound(tiles: usize, magnitude: f64) -> f64 {
    1.001 * (17 + tiles) as f64 * 2_f64.powi(-24) * magnitude
}

/// What a kernel stored, the exact sum and the bound of their difference.
fn check(stored: f32, start: f64, products: impl Iterator<Item = f64>, tiles: usize, place: &str) {
    let (sum, magnitude) = products.fold((start, start.abs()), |(sum, size), x| (sum + x, size + x.abs()));
    assert!((f64::from(stored) - sum).abs() <= bound(tiles, magnitude), "{stored} instead of {sum} at {place}");
}

/// Where the rows of a [`RowBlock`] lie.
#[derive(Clone, Copy, Debug)]
enum Placement {
    /// One behind the other.
    Strided,
    /// The same, from the last to the first.
    Backwards,
    /// One row, sixteen times each.
    Repeated,
    /// In no order.
    Scattered,
    /// As strided, but with rows of zeros in between, as at the edges of an image.
    Padded,
}

#[derive(Clone, Copy, Debug)]
struct RowCase {
    placement: Placement,
    taps: usize,
    first_unit: usize,
    units: usize,
    accumulate: bool,
}

impl RowCase {
    fn all() -> impl Iterator<Item = Self> {
        use Placement::*;
        let shapes = [(1, 0, 16), (1, 0, 1), (3, 0, 48), (2, 16, 32), (9, 0, 20), (1, 5, 31), (2, 3, 15), (4, 8, 17)];
        [Strided, Backwards, Repeated, Scattered, Padded].into_iter().flat_map(move |placement| {
            shapes.into_iter().flat_map(move |(taps, first_unit, units)| {
                [false, true].map(|accumulate| Self { placement, taps, first_unit, units, accumulate })
            })
        })
    }

    /// For each tap the index of the row that each row of the block is; `BLOCK` is the row of zeros.
    fn order(&self, random: &mut Random) -> Vec<usize> {
        let mut order = Vec::new();
        for tap in 0..self.taps {
            for r in 0..BLOCK {
                order.push(match self.placement {
                    Placement::Strided => r,
                    Placement::Backwards => BLOCK - 1 - r,
                    Placement::Repeated => r / TILE,
                    Placement::Scattered => random.next() as usize % BLOCK,
                    Placement::Padded if (r + tap) % 7 == 0 => BLOCK,
                    Placement::Padded => r,
                });
            }
        }
        order
    }

    /// Runs `kernel` between untouchable pages and checks every sum.
    fn run(&self, kernel: unsafe fn(&RowBlock), at_end: bool) {
        let mut random = Random(self.units as u64);
        let width = self.first_unit + self.units;
        // What lies before `first_unit` of a row is not to be read either.
        let mut rows = random.units(self.taps * BLOCK * width);
        rows.chunks_exact_mut(width).for_each(|row| row[..self.first_unit].fill(POISON));
        let rows = Guarded::new(&rows, at_end);
        let zeros = Guarded::new(&vec![0; width], at_end);
        let panel = Guarded::new(&random.units(self.taps * self.units * BLOCK), at_end);
        let start = random.units(BLOCK * BLOCK).iter().map(|_| random.value()).collect::<Vec<_>>();
        let initial = start.iter().map(|x| if self.accumulate { x.to_bits() } else { POISON }).collect::<Vec<_>>();
        let sums = Guarded::new(&initial, at_end);

        // A table wider than the block, as that of a group of several blocks.
        let tap_stride = BLOCK + 3;
        let order = self.order(&mut random);
        let row_of = |tap: usize, r: usize| match order[tap * BLOCK + r] {
            BLOCK => zeros.slice(),
            row => &rows.slice()[(tap * BLOCK + row) * width..][..width],
        };
        let mut table = vec![std::ptr::null(); self.taps * tap_stride];
        for tap in 0..self.taps {
            for r in 0..BLOCK {
                table[tap * tap_stride + r] = row_of(tap, r).as_ptr();
            }
        }
        let block = RowBlock {
            sums: sums.units.cast(),
            accumulate: self.accumulate,
            rows: table.as_ptr(),
            tap_stride,
            taps: self.taps,
            first_unit: self.first_unit,
            units: self.units,
            panel: panel.units,
        };
        // SAFETY: the pointers are valid for what the fields say; the machine has the tiles, as the callers see to.
        unsafe { kernel(&block) };

        for (i, sum) in sums.slice().iter().enumerate() {
            let (r, o) = (i / BLOCK, i % BLOCK);
            let products = (0..self.taps * self.units).flat_map(|i| {
                let (tap, u) = (i / self.units, i % self.units);
                let (left, right) = (pair(row_of(tap, r)[self.first_unit + u]), pair(panel.slice()[i * BLOCK + o]));
                [left[0] * right[0], left[1] * right[1]]
            });
            let start = if self.accumulate { start[i].into() } else { 0.0 };
            let tiles = self.taps * self.units.div_ceil(TILE);
            check(f32::from_bits(*sum), start, products, tiles, &format!("row {r}, output {o} of {self:?}"));
        }
    }
}

/// Runs `kernel` on `units` pairs of positions and checks every sum, and that what lies between the rows of sums stays.
fn run_columns(
    kernel: unsafe fn(&ColumnBlock),
    units: usize,
    columns: usize,
    first: usize,
    accumulate: bool,
    at_end: bool,
) {
    let mut random = Random(units as u64);
    let pairs = random.units(units * columns);
    let mut left = vec![POISON; units * BLOCK];
    pack_left(&pairs, columns, first, &mut left);
    let left = Guarded::new(&left, at_end);
    let right = Guarded::new(&random.units(units * BLOCK), at_end);
    let stride = BLOCK + 5;
    let mut start = |_| if accumulate { random.value().to_bits() } else { POISON };
    let start: Vec<u32> = (0..(BLOCK - 1) * stride + BLOCK).map(&mut start).collect();
    let sums = Guarded::new(&start, at_end);
    let block =
        ColumnBlock { sums: sums.units.cast(), stride, accumulate, left: left.units, right: right.units, units };
    // SAFETY: the pointers are valid for what the fields say; the machine has the tiles, as the callers see to.
    unsafe { kernel(&block) };

    for (i, (sum, start)) in sums.slice().iter().zip(&start).enumerate() {
        let (l, r) = (i / stride, i % stride);
        if r >= BLOCK {
            assert_eq!(sum, start, "between the rows of sums");
            continue;
        }
        let products = (0..units).filter(|_| first + l < columns).flat_map(|u| {
            let (left, right) = (pair(pairs[u * columns + first + l]), pair(right.slice()[u * BLOCK + r]));
            [left[0] * right[0], left[1] * right[1]]
        });
        let place = format!("row {l}, column {r} of {units} units");
        let start = if accumulate { f32::from_bits(*start).into() } else { 0.0 };
        check(f32::from_bits(*sum), start, products, units / TILE, &place);
    }
}

unsafe fn emulated_rows(block: &RowBlock) {
    // SAFETY: the caller's contract.
    unsafe { multiply_rows(&mut Emulated::configure(), block) }
}

unsafe fn emulated_columns(block: &ColumnBlock) {
    // SAFETY: the caller's contract.
    unsafe { multiply_columns(&mut Emulated::configure(), block) }
}

#[target_feature(enable = "avx512f")]
unsafe fn hardware_rows(block: &RowBlock) {
    // SAFETY: the caller's contract.
    unsafe { multiply_rows(&mut Hardware::configure(), block) }
}

#[target_feature(enable = "avx512f")]
unsafe fn hardware_columns(block: &ColumnBlock) {
    // SAFETY: the caller's contract.
    unsafe { multiply_columns(&mut Hardware::configure(), block) }
}

fn hardware_or_skip(test: &str) -> bool {
    let available = Isa::Amx.is_available();
    if !available {
        println!("skipped: this machine has no tile registers for {test}");
    }
    available
}

fn all_rows(kernel: unsafe fn(&RowBlock)) {
    for case in RowCase::all() {
        case.run(kernel, true);
        case.run(kernel, false);
    }
}

fn all_columns(kernel: unsafe fn(&ColumnBlock)) {
    for (units, columns, first) in [(16, 32, 0), (48, 32, 0), (80, 96, 64), (32, 48, 32)] {
        for (accumulate, at_end) in [(true, true), (true, false), (false, true)] {
            run_columns(kernel, units, columns, first, accumulate, at_end);
        }
    }
}

#[test]
fn emulated_rows_match_exact_sums_and_read_nothing_else() {
    all_rows(emulated_rows);
}

#[test]
fn emulated_columns_match_exact_sums_and_read_nothing_else() {
    all_columns(emulated_columns);
}

#[test]
fn tile_registers_multiply_rows() {
    if hardware_or_skip("rows") {
        all_rows(hardware_rows);
    }
}

#[test]
fn tile_registers_multiply_columns() {
    if hardware_or_skip("columns") {
        all_columns(hardware_columns);
    }
}

#[test]
fn a_thread_keeps_its_tiles_until_the_last_holder_is_gone() {
    if !hardware_or_skip("several holders") {
        return;
    }
    let case = RowCase { placement: Placement::Strided, taps: 1, first_unit: 0, units: 16, accumulate: false };
    let work = move || {
        // SAFETY: the machine has tile registers.
        let mut outer = unsafe { Hardware::configure() };
        case.run(hardware_rows, true);
        let mut zeros = [f32::NAN; TILE * TILE];
        // SAFETY: as above, and the array has room for a tile.
        unsafe {
            outer.zero::<0>();
            outer.store::<0>(zeros.as_mut_ptr(), 64);
        }
        assert_eq!(zeros, [0.0; TILE * TILE]);
        drop(outer);
        case.run(hardware_rows, true);
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn one_row_out_of_step_is_no_stride() {
    if !is_x86_feature_detected!("avx512f") {
        println!("skipped: this machine has no AVX-512");
        return;
    }
    let memory = [0_u32; 64];
    for step in [0, 1, 2, 3] {
        let rows: [*const u32; TILE] = std::array::from_fn(|r| &raw const memory[r * step]);
        let stride = Some(4 * step as isize);
        // SAFETY: the machine has AVX-512.
        assert_eq!(unsafe { (Hardware::stride(rows.as_ptr()), Emulated::stride(rows.as_ptr())) }, (stride, stride));
        for odd_one in 0..TILE {
            let mut rows = rows;
            rows[odd_one] = &raw const memory[63];
            // SAFETY: as above.
            assert_eq!(unsafe { (Hardware::stride(rows.as_ptr()), Emulated::stride(rows.as_ptr())) }, (None, None));
        }
    }
}

#[test]
fn a_partial_row_is_copied_without_touching_what_follows() {
    if !is_x86_feature_detected!("avx512f") {
        println!("skipped: this machine has no AVX-512");
        return;
    }
    let row: Vec<u32> = (1..=16).collect();
    for count in 0..=TILE {
        let source = Guarded::new(&row[..count], true);
        let mut copies = [[POISON; TILE]; 2];
        // SAFETY: the machine has AVX-512, the source `count` units and each copy room for a row.
        unsafe {
            Hardware::copy_row(source.units, count, copies[0].as_mut_ptr());
            Emulated::copy_row(source.units, count, copies[1].as_mut_ptr());
        }
        assert_eq!(copies[0], std::array::from_fn(|u| if u < count { row[u] } else { 0 }));
        assert_eq!(copies[0], copies[1]);
    }
}

#[test]
fn emulation_flushes_denormals_and_sums_firsts_and_seconds_apart() {
    let multiply = |left: [f32; 2], right: [f32; 2], start: f32| {
        let unit = |[first, second]: [f32; 2]| first.to_bits() >> 16 | second.to_bits() & 0xffff_0000;
        let mut tile = [start.to_bits(); TILE * TILE];
        // SAFETY: all tiles are arrays of their size.
        unsafe {
            let mut tiles = Emulated::configure();
            tiles.load::<0>(tile.as_ptr(), 64);
            tiles.load::<4>([unit(left); TILE * TILE].as_ptr(), 64);
            tiles.load::<6>([unit(right); TILE * TILE].as_ptr(), 64);
            tiles.multiply_add::<0, 4, 6>();
            tiles.store::<0>(tile.as_mut_ptr().cast(), 64);
        }
        f32::from_bits(tile[17])
    };
    assert_eq!(multiply([1.0, 2.0], [3.0, 4.0], 5.0), 16.0 * 11.0 + 5.0);
    let denormal = f32::from_bits(0x0040_0000);
    assert_eq!(multiply([denormal, 0.0], [2_f32.powi(100), 0.0], 0.0), 0.0, "a denormal operand");
    assert_eq!(multiply([2_f32.powi(-70), 0.0], [2_f32.powi(-70), 0.0], 0.0), 0.0, "a denormal product");
    assert_eq!(multiply([0.0, 0.0], [0.0, 0.0], denormal), 0.0, "a denormal sum");
    let (smallest, above_one) = (f32::MIN_POSITIVE, 1.0 + 2_f32.powi(-7));
    assert_eq!(multiply([above_one, -1.0], [smallest; 2], smallest), smallest, "firsts and seconds leave a denormal");
    // Added to the sum one by one, the seconds would survive in the first case and the small start be lost in the other.
    let tiny = 2_f32.powi(-20);
    assert_eq!(multiply([256.0, tiny], [1.0, 1.0], -4096.0), 0.0, "the seconds vanish beside the firsts");
    assert_eq!(multiply([256.0, -256.0], [1.0, 1.0], tiny), tiny, "firsts and seconds cancel before the sum");
}

#[test]
fn infinite_weights_behind_a_panel_stay_out_of_its_rest() {
    let infinite = 0x7f80_7f80;
    let case = RowCase { placement: Placement::Strided, taps: 1, first_unit: 0, units: 3, accumulate: false };
    let rows = [0x3f80_3f80; BLOCK * 16];
    let table: Vec<*const u32> = (0..BLOCK).map(|r| &raw const rows[r * 16]).collect();
    let mut panel = vec![infinite; 16 * BLOCK];
    panel[..case.units * BLOCK].fill(0x3f80_3f80);
    let mut sums = [f32::NAN; BLOCK * BLOCK];
    let block = RowBlock {
        sums: sums.as_mut_ptr(),
        accumulate: false,
        rows: table.as_ptr(),
        tap_stride: BLOCK,
        taps: 1,
        first_unit: 0,
        units: case.units,
        panel: panel.as_ptr(),
    };
    // SAFETY: the pointers are valid for what the fields say.
    unsafe { emulated_rows(&block) };
    assert_eq!(sums, [6.0; BLOCK * BLOCK]);
}
