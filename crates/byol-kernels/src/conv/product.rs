//! The direct product of all windows with a packed weight: the forward pass and the input gradient.
#![expect(unsafe_code, reason = "calls the inner loops on a table of pointers")]

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::destination::{Destinations, Image, Shared, destination_offsets};
use super::finish::Finish;
use super::kept_in;
use super::weight::{MAX_WIDTH, PackedWeight, Panel, Panels, WeightView, panels_per_task};
use super::window::{RowLayout, RowOf, RowTable, Window};
use crate::buffer::arbitrary;
use crate::element::Element;
use crate::isa::{Isa, vectorized};
use crate::vector::{GROUP_ROWS, Places, Rows};

/// `finish(windows of source · weight)` for every position of `window`. The packed weight is taken from `slot`, or put there.
#[expect(clippy::too_many_arguments, reason = "the product and where its weight is kept")]
pub(super) fn multiply<E: Element, D: Element>(
    isa: Isa,
    window: &Window,
    source: &[E],
    weight: &WeightView,
    image: Image,
    destination: &mut [D],
    finish: &mut impl Finish<D>,
    slot: Option<&OnceLock<PackedWeight>>,
) {
    let positions = image.count(destination.len()) * window.positions();
    if positions == 0 {
        return;
    }
    assert!(isa.is_available(), "this machine has no {isa}");
    let layout = RowLayout::new::<E>(window);
    let destination = Shared::new(isa, image.channels, destination);
    let product = Product { isa, window, source, weight, layout, image, destination, positions };
    finish.begin(product.groups());
    if let Some(slot) = slot {
        let packed = kept_in(slot, || PackedWeight::new::<E>(isa, weight, layout));
        return product.by_group(packed, finish);
    }
    let panels = Panels::new(E::kernels(isa).rows, weight.outputs, |width| layout.units() * width).list;
    let groups = product.groups();
    match layout.row_of == RowOf::Pixel && groups <= MAX_GROUPS_BY_PANEL && groups < panels.len() {
        true => product.by_panel(&panels, finish),
        false => product.by_group(&PackedWeight::new::<E>(isa, weight, layout), finish),
    }
}

/// Up to so many groups of positions, and fewer than there are panels, pass a panel where it is packed. More of them would come
/// from memory for every panel.
const MAX_GROUPS_BY_PANEL: usize = 4;

struct Product<'a, E, D> {
    isa: Isa,
    window: &'a Window,
    source: &'a [E],
    weight: &'a WeightView<'a>,
    layout: RowLayout,
    image: Image,
    destination: Shared<'a, D>,
    positions: usize,
}

/// What a group of positions sees, and where its sums go.
struct Group {
    /// None before it is filled.
    number: Option<usize>,
    table: RowTable,
    /// See [`destination_offsets`].
    offsets: Vec<usize>,
}

/// What is asked for while a part is multiplied.
#[derive(Default)]
struct Soon<'a> {
    /// The group that comes next.
    rows_of: Option<&'a Group>,
    /// Where the sums go.
    places: Option<Places>,
}

impl<E: Element, D: Element> Product<'_, E, D> {
    fn groups(&self) -> usize {
        self.positions.div_ceil(GROUP_ROWS)
    }

    /// Room for `len` sums, which the first part of the reduction overwrites; zeros where there is nothing to sum.
    fn sums(&self, len: usize) -> Vec<f32> {
        if self.layout.units() == 0 { vec![0.0; len] } else { arbitrary(len) }
    }

    /// The whole weight is packed; each task takes one group of positions through several panels.
    fn by_group(&self, weight: &PackedWeight, finish: &impl Finish<D>) {
        let Self { isa, layout, .. } = *self;
        let panels_per_task = panels_per_task(self.groups(), weight.panels().len());
        let panel_tasks = weight.panels().len().div_ceil(panels_per_task);
        let chunk_len = E::kernels(isa).chunk_len;
        (0..self.groups() * panel_tasks).into_par_iter().for_each_init(
            || (Group::new(layout), Group::new(layout), self.sums(GROUP_ROWS * MAX_WIDTH)),
            |(group, next, sums), task| {
                let _registers = E::kernels(isa).hold_registers();
                let number = task / panel_tasks;
                if next.number == Some(number) {
                    std::mem::swap(group, next);
                }
                group.fill(self, number);
                // Of spans, of which many lie in a line of the cache, none are asked for.
                let ahead = match layout.row_of {
                    RowOf::Pixel => {
                        next.fill(self, number + 1);
                        Some(&*next)
                    }
                    RowOf::Span => None,
                };
                let panels = weight.panels().iter().skip(task % panel_tasks * panels_per_task).take(panels_per_task);
                for (i, panel) in panels.enumerate() {
                    for (part, (taps, units)) in layout.parts(chunk_len / panel.kernel.width).enumerate() {
                        let packed = weight.units_from(panel, taps.start * layout.row_units + units.start);
                        let is_last = taps.end == layout.taps && units.end == layout.row_units;
                        let soon = Soon {
                            rows_of: ahead.filter(|_| i == 0),
                            places: is_last.then(|| self.rows(group, panel).places(finish)),
                        };
                        group.multiply(panel, taps, units, packed, part > 0, sums, soon);
                    }
                    self.write(finish, group, panel, sums);
                }
                self.destination.streams.finish();
            },
        );
    }

    /// Each task packs some panels, part by part, and takes all positions through them while the part is in a cache. Of few
    /// positions and many weights, as in a linear layer, that is one pass over the weights.
    fn by_panel(&self, panels: &[Panel], finish: &impl Finish<D>) {
        let Self { isa, layout, .. } = *self;
        let chunk_len = E::kernels(isa).chunk_len;
        let group_len = GROUP_ROWS * panels[0].kernel.width;
        let panels_per_task = panels.len().div_ceil(4 * rayon::current_num_threads());
        let panels_per_task = panels_per_task.min(MAX_WIDTH / panels[0].kernel.width);
        let part_len = chunk_len / (panels_per_task * panels[0].kernel.width);
        panels.par_chunks(panels_per_task).for_each_init(
            || {
                let mut groups: Vec<_> = (0..self.groups()).map(|_| Group::new(layout)).collect();
                groups.iter_mut().enumerate().for_each(|(number, group)| group.fill(self, number));
                (groups, self.sums(panels_per_task * self.groups() * group_len), arbitrary::<u32>(chunk_len))
            },
            |(groups, sums, packed), panels| {
                let _registers = E::kernels(isa).hold_registers();
                for (part, (taps, units)) in layout.parts(part_len).enumerate() {
                    for (panel, sums) in panels.iter().zip(sums.chunks_exact_mut(groups.len() * group_len)) {
                        let packed = &mut packed[..taps.len() * units.len() * panel.kernel.width];
                        self.weight.pack::<E>(isa, panel, taps.clone(), units.clone(), packed);
                        for (group, sums) in groups.iter().zip(sums.chunks_exact_mut(group_len)) {
                            group.multiply(panel, taps.clone(), units.clone(), packed, part > 0, sums, Soon::default());
                        }
                    }
                }
                for (panel, sums) in panels.iter().zip(sums.chunks_exact(groups.len() * group_len)) {
                    for (group, sums) in groups.iter().zip(sums.chunks_exact(group_len)) {
                        self.write(finish, group, panel, sums);
                    }
                }
                self.destination.streams.finish();
            },
        );
    }

    fn rows<'a>(&'a self, group: &'a Group, panel: &Panel) -> Destinations<'a, D> {
        let columns = panel.first_output..(panel.first_output + panel.kernel.width).min(self.image.channels);
        Destinations { destination: &self.destination, offsets: &group.offsets, columns }
    }

    fn write(&self, finish: &impl Finish<D>, group: &Group, panel: &Panel, sums: &[f32]) {
        let rows = self.rows(group, panel);
        vectorized(
            self.isa,
            #[inline(always)]
            || rows.write(finish, group.number.expect("a filled group"), panel.kernel.width, sums),
        );
    }
}

impl Group {
    fn new(layout: RowLayout) -> Self {
        Self { number: None, table: RowTable::new(layout, GROUP_ROWS), offsets: Vec::with_capacity(GROUP_ROWS) }
    }

    /// Makes it the group of that number, if it is not yet; one beyond the last has no positions.
    fn fill<E: Element, D: Element>(&mut self, product: &Product<E, D>, number: usize) {
        if self.number == Some(number) {
            return;
        }
        let Product { window, source, image, positions, .. } = *product;
        let positions = (number * GROUP_ROWS).min(positions)..((number + 1) * GROUP_ROWS).min(positions);
        self.number = Some(number);
        self.table.fill(product.isa, window, source, positions.clone());
        destination_offsets(window, image, positions, &mut self.offsets);
    }

    /// `sums (+)= rows of the table · panel` of a part of the reduction, which `packed` holds.
    #[expect(clippy::too_many_arguments, reason = "the part, its operands and what comes after it")]
    fn multiply(
        &self,
        panel: &Panel,
        taps: Range<usize>,
        units: Range<usize>,
        packed: &[u32],
        accumulate: bool,
        sums: &mut [f32],
        soon: Soon,
    ) {
        assert!(sums.len() >= GROUP_ROWS * panel.kernel.width, "room for the sums");
        assert!(packed.len() >= taps.len() * units.len() * panel.kernel.width, "a panel with the whole part");
        let rows = Rows {
            sums: sums.as_mut_ptr(),
            accumulate,
            count: self.offsets.len(),
            rows: self.table.rows(taps.clone()).as_ptr(),
            taps: taps.len(),
            first_unit: units.start,
            units: units.len(),
            panel: packed.as_ptr(),
            ahead: soon.rows_of.map_or(std::ptr::null(), |next| next.table.rows(taps).as_ptr()),
            places: soon.places,
        };
        // SAFETY: `sums` and `packed` are long enough, as just asserted; the table has a row of pointers for every tap, and
        // each is valid for the units of its layout, of which `taps` and `units` are a part. The places are those of this
        // group. `multiply` saw that the machine has the instruction set.
        unsafe { (panel.kernel.run)(&rows) };
    }
}
