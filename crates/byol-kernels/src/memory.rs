//! A global allocator that hands large blocks out again instead of giving them back.
#![expect(unsafe_code, reason = "implements an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lanes::CACHE_LINE_BYTES;

/// Keeps blocks of 16 KiB and more in one range of addresses, where freed neighbours become one and the smallest gap that
/// fits is filled first.
///
/// A training step asks for the same hundreds of megabytes every time. The system's allocator returns such blocks to the
/// operating system and gets them back as fresh pages, which the kernel fills with zeros one fault at a time: that costs more
/// than some layers. Here pages stay with the process from their first use on, in the next steps as parts of other blocks, and
/// the process takes hardly more than what it used at once.
///
/// The range is reserved once, as large as the machine's memory; nothing of it takes memory before it is used. Where it cannot be
/// reserved or is full, and for smaller blocks, the system's allocator serves. Install it with `#[global_allocator]`.
pub struct ReusingAllocator {
    locked: AtomicBool,
    range: UnsafeCell<Range>,
}

// SAFETY: `range` is only touched by who holds the lock.
unsafe impl Sync for ReusingAllocator {}

/// Smallest size that is served here.
const MIN_SIZE: usize = 16 * 1024;

/// Blocks handed out at once, at most.
const MAX_BLOCKS: usize = 4096;

/// What is reserved, and which of it is free. Sizes and addresses are multiples of a cache line.
struct Range {
    is_reserved: bool,
    start: usize,
    end: usize,
    /// Whatever begins here or later was never handed out and is zero.
    fresh: usize,
    /// Address and size of each gap, by address; no two of them touch.
    gaps: [(usize, usize); MAX_BLOCKS + 1],
    gap_count: usize,
    block_count: usize,
}

/// A block, and whether it is known to be zero.
struct Block {
    start: *mut u8,
    is_zero: bool,
}

impl ReusingAllocator {
    /// Nothing reserved yet.
    pub const fn new() -> Self {
        let range = Range {
            is_reserved: false,
            start: 0,
            end: 0,
            fresh: 0,
            gaps: [(0, 0); MAX_BLOCKS + 1],
            gap_count: 0,
            block_count: 0,
        };
        Self { locked: AtomicBool::new(false), range: UnsafeCell::new(range) }
    }

    /// Runs `work` alone. It does not allocate through this allocator, so that a thread never waits for itself.
    fn with_range<R>(&self, work: impl FnOnce(&mut Range) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = work(unsafe { &mut *self.range.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// A block for `layout`, if it is one to be served here.
    fn take(&self, layout: Layout) -> Option<Block> {
        let size = block_size(layout)?;
        self.with_range(|range| range.take(size))
    }
}

impl Default for ReusingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// What a block for `layout` takes; `None` for small and for oddly aligned ones.
fn block_size(layout: Layout) -> Option<usize> {
    let is_served = layout.size() >= MIN_SIZE && layout.align() <= CACHE_LINE_BYTES;
    is_served.then(|| layout.size().next_multiple_of(CACHE_LINE_BYTES))
}

impl Range {
    /// The smallest gap that fits becomes a block of `size` bytes at its start.
    fn take(&mut self, size: usize) -> Option<Block> {
        if !self.is_reserved {
            self.is_reserved = true;
            self.reserve();
        }
        if self.block_count == MAX_BLOCKS {
            return None;
        }
        let gaps = self.gaps[..self.gap_count].iter().enumerate();
        let (index, _) = gaps.filter(|(_, (_, gap))| *gap >= size).min_by_key(|(_, (_, gap))| *gap)?;
        let (start, gap) = self.gaps[index];
        match gap == size {
            true => self.remove_gap(index),
            false => self.gaps[index] = (start + size, gap - size),
        }
        self.block_count += 1;
        let is_zero = start >= self.fresh;
        self.fresh = self.fresh.max(start + size);
        Some(Block { start: start as *mut u8, is_zero })
    }

    /// A block becomes a gap, together with those beside it.
    fn give_back(&mut self, start: usize, size: usize) {
        self.block_count -= 1;
        let gaps = &mut self.gaps[..self.gap_count];
        let next = gaps.partition_point(|(gap, _)| *gap < start);
        let touches_next = gaps.get(next).is_some_and(|(gap, _)| *gap == start + size);
        let touches_last = next > 0 && gaps[next - 1].0 + gaps[next - 1].1 == start;
        match (touches_last, touches_next) {
            (true, true) => {
                gaps[next - 1].1 += size + gaps[next].1;
                self.remove_gap(next);
            }
            (true, false) => gaps[next - 1].1 += size,
            (false, true) => gaps[next] = (start, size + gaps[next].1),
            (false, false) => {
                self.gaps.copy_within(next..self.gap_count, next + 1);
                self.gaps[next] = (start, size);
                self.gap_count += 1;
            }
        }
    }

    fn remove_gap(&mut self, index: usize) {
        self.gaps.copy_within(index + 1..self.gap_count, index);
        self.gap_count -= 1;
    }

    /// Reserves addresses for as much as the machine has, as one gap; none where that is refused.
    fn reserve(&mut self) {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            // SAFETY: a question to the system.
            let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
            let Some(size) =
                usize::try_from(pages).ok().zip(usize::try_from(page).ok()).and_then(|(n, m)| n.checked_mul(m))
            else {
                return;
            };
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping of its own, which nobody else knows of.
            let start =
                unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return;
            }
            // SAFETY: the range is the one just mapped; the advice, one fault for 2 MiB instead of 512, may fail without harm.
            #[cfg(target_os = "linux")]
            unsafe {
                libc::madvise(start, size, libc::MADV_HUGEPAGE)
            };
            let start = start as usize;
            (self.start, self.end, self.fresh) = (start, start + size, start);
            self.gaps[0] = (start, size);
            self.gap_count = 1;
        }
    }
}

// SAFETY: what is not served here goes to the system unchanged. A block is a part of the reserved range, as large and as aligned as
// its layout or more, and was a gap before: it is handed out to one owner at a time. Blocks are known again by their address, and
// their size follows from the layout they are freed with.
unsafe impl GlobalAlloc for ReusingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => block.start,
            // SAFETY: the caller's layout.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout; a block has as many bytes.
        unsafe {
            match self.take(layout) {
                Some(Block { start, is_zero: true }) => start,
                Some(Block { start, is_zero: false }) => {
                    start.write_bytes(0, layout.size());
                    start
                }
                None => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let start = block as usize;
        let is_ours = block_size(layout).is_some_and(|size| {
            self.with_range(|range| {
                let is_ours = (range.start..range.end).contains(&start);
                if is_ours {
                    range.give_back(start, size);
                }
                is_ours
            })
        });
        if !is_ours {
            // SAFETY: then it came from the system, with this layout.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees a valid new layout; the bytes copied are those both blocks have.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            match (block_size(layout), block_size(new_layout)) {
                (None, None) => System.realloc(block, layout, new_size),
                (Some(old), Some(new)) if old == new => block,
                _ => {
                    let new_block = self.alloc(new_layout);
                    if !new_block.is_null() {
                        new_block.copy_from_nonoverlapping(block, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    new_block
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).unwrap()
    }

    /// Bytes from the start of the range to what was never handed out.
    fn used(allocator: &ReusingAllocator) -> usize {
        allocator.with_range(|range| range.fresh - range.start)
    }

    #[test]
    fn a_freed_block_is_handed_out_again_and_zeroed_on_request() {
        let allocator = ReusingAllocator::new();
        // SAFETY: blocks are written within their layout and freed once.
        unsafe {
            let first = allocator.alloc_zeroed(layout(MIN_SIZE));
            assert!(std::slice::from_raw_parts(first, MIN_SIZE).iter().all(|byte| *byte == 0));
            first.write_bytes(7, MIN_SIZE);
            allocator.dealloc(first, layout(MIN_SIZE));
            let second = allocator.alloc_zeroed(layout(MIN_SIZE));
            assert_eq!(first, second);
            assert!(std::slice::from_raw_parts(second, MIN_SIZE).iter().all(|byte| *byte == 0));
            allocator.dealloc(second, layout(MIN_SIZE));
        }
    }

    #[test]
    fn neighbours_that_are_freed_in_any_order_become_one_gap() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let allocator = ReusingAllocator::new();
            // SAFETY: as above.
            unsafe {
                let blocks = [1, 2, 3].map(|n| (allocator.alloc(layout(n * MIN_SIZE)), layout(n * MIN_SIZE)));
                let last = allocator.alloc(layout(MIN_SIZE));
                order.into_iter().for_each(|i| allocator.dealloc(blocks[i].0, blocks[i].1));
                assert_eq!(allocator.alloc(layout(6 * MIN_SIZE)), blocks[0].0, "{order:?}");
                assert_eq!(used(&allocator), 7 * MIN_SIZE);
                allocator.dealloc(blocks[0].0, layout(6 * MIN_SIZE));
                allocator.dealloc(last, layout(MIN_SIZE));
            }
            allocator.with_range(|range| {
                assert_eq!((range.gap_count, range.block_count), (1, 0));
                assert_eq!(range.gaps[0], (range.start, range.end - range.start));
            });
        }
    }

    #[test]
    fn the_smallest_gap_that_fits_is_filled() {
        let allocator = ReusingAllocator::new();
        // SAFETY: as above.
        unsafe {
            let blocks = [4, 1, 2, 1].map(|n| allocator.alloc(layout(n * MIN_SIZE)));
            allocator.dealloc(blocks[0], layout(4 * MIN_SIZE));
            allocator.dealloc(blocks[2], layout(2 * MIN_SIZE));
            assert_eq!(allocator.alloc(layout(MIN_SIZE + 1)), blocks[2]);
            assert_eq!(allocator.alloc(layout(3 * MIN_SIZE)), blocks[0]);
            assert_eq!(used(&allocator), 8 * MIN_SIZE);
        }
    }

    #[test]
    fn small_and_oddly_aligned_blocks_come_from_the_system_and_go_back_there() {
        let allocator = ReusingAllocator::new();
        // SAFETY: as above.
        unsafe {
            for layout in [layout(MIN_SIZE - 1), Layout::from_size_align(MIN_SIZE, 4096).unwrap()] {
                let block = allocator.alloc(layout);
                assert_eq!(block as usize % layout.align(), 0);
                block.write_bytes(1, layout.size());
                allocator.dealloc(block, layout);
            }
        }
        allocator.with_range(|range| assert!(!range.is_reserved));
    }

    #[test]
    fn more_blocks_than_there_is_room_for_come_from_the_system() {
        let allocator = ReusingAllocator::new();
        // SAFETY: as above; nothing of the blocks is touched.
        unsafe {
            let blocks: Vec<_> = (0..MAX_BLOCKS + 3).map(|_| allocator.alloc(layout(MIN_SIZE))).collect();
            allocator.with_range(|range| assert_eq!(range.block_count, MAX_BLOCKS));
            // Every second one first: as many gaps as there can be.
            for parity in 0..2 {
                blocks.iter().skip(parity).step_by(2).for_each(|block| allocator.dealloc(*block, layout(MIN_SIZE)));
            }
        }
        allocator.with_range(|range| assert_eq!((range.gap_count, range.block_count), (1, 0)));
    }

    #[test]
    fn growing_keeps_the_content() {
        let allocator = ReusingAllocator::new();
        // SAFETY: as above.
        unsafe {
            let mut size = 1000;
            let mut block = allocator.alloc(layout(size));
            block.write_bytes(3, size);
            for new_size in [MIN_SIZE - 1, MIN_SIZE, MIN_SIZE + 5, 3 * MIN_SIZE, 2000] {
                block = allocator.realloc(block, layout(size), new_size);
                assert!(std::slice::from_raw_parts(block, 1000).iter().all(|byte| *byte == 3));
                size = new_size;
            }
            allocator.dealloc(block, layout(size));
        }
    }

    #[test]
    fn threads_never_share_a_block() {
        let allocator = ReusingAllocator::new();
        std::thread::scope(|scope| {
            for id in 0..4_u8 {
                let allocator = &allocator;
                scope.spawn(move || {
                    for round in 0..50 {
                        let size = MIN_SIZE * (1 + (usize::from(id) + round) % 3);
                        // SAFETY: as above.
                        unsafe {
                            let block = allocator.alloc(layout(size));
                            block.write_bytes(id, size);
                            std::thread::yield_now();
                            assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == id));
                            allocator.dealloc(block, layout(size));
                        }
                    }
                });
            }
        });
    }
}
