//! A global allocator that hands large blocks out again instead of giving them back.
#![expect(unsafe_code, reason = "implements an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps freed blocks of 256 KiB and more for the next request of their size class.
///
/// A training step asks for the same sizes every time. The system's allocator returns such blocks to the operating system
/// and gets them back as fresh pages, which the kernel fills with zeros one fault at a time: with activations of hundreds
/// of megabytes that costs more than some layers. Blocks in use and blocks kept together never take more than the most
/// that was in use at once so far, so that keeping them does not raise the peak of the process. Where that leaves no room for
/// a new block, a request gets a kept one of up to four times its size.
///
/// Install it with `#[global_allocator]`.
pub struct ReusingAllocator {
    locked: AtomicBool,
    blocks: UnsafeCell<Blocks>,
}

// SAFETY: `blocks` is only touched by who holds the lock.
unsafe impl Sync for ReusingAllocator {}

/// Smallest size that is kept.
const MIN_SIZE: usize = 256 * 1024;

/// From this size on blocks are aligned to huge pages, and the operating system is asked for them.
const MIN_HUGE_SIZE: usize = 4 * 1024 * 1024;

const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Blocks kept at once; more are given back.
const MAX_KEPT: usize = 1024;

/// Blocks in use at once that are larger than their request.
const MAX_LENT: usize = 64;

/// How many times its size a request may get.
const MAX_EXCESS: usize = 4;

struct Blocks {
    /// Address and size, oldest first.
    kept: [(usize, usize); MAX_KEPT],
    kept_count: usize,
    /// Address and size of what is larger than its request; an address of 0 is a free place.
    lent: [(usize, usize); MAX_LENT],
    kept_bytes: usize,
    used_bytes: usize,
    most_used_bytes: usize,
}

impl ReusingAllocator {
    /// Nothing kept yet.
    pub const fn new() -> Self {
        let blocks = Blocks {
            kept: [(0, 0); MAX_KEPT],
            kept_count: 0,
            lent: [(0, 0); MAX_LENT],
            kept_bytes: 0,
            used_bytes: 0,
            most_used_bytes: 0,
        };
        Self { locked: AtomicBool::new(false), blocks: UnsafeCell::new(blocks) }
    }

    /// Runs `work` alone. It does not allocate through this allocator, so that a thread never waits for itself.
    fn with_blocks<R>(&self, work: impl FnOnce(&mut Blocks) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = work(unsafe { &mut *self.blocks.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl Default for ReusingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// What the system is asked for in place of a large `layout`: its size class, of which there are eight in each power of
/// two, and an alignment that depends on the class alone. `None` for small and for oddly aligned layouts.
fn class(layout: Layout) -> Option<Layout> {
    let size = layout.size();
    if size < MIN_SIZE || layout.align() > 64 {
        return None;
    }
    let step = 1 << (size.ilog2() - 3);
    let size = size.checked_next_multiple_of(step)?;
    Layout::from_size_align(size, class_align(size)).ok()
}

fn class_align(class_size: usize) -> usize {
    if class_size >= MIN_HUGE_SIZE { HUGE_PAGE } else { 64 }
}

impl Blocks {
    /// Takes a kept block of this class, or a larger one where a new one would cost a kept one.
    fn take(&mut self, class: Layout) -> Option<*mut u8> {
        let kept = &self.kept[..self.kept_count];
        let exact = kept.iter().rposition(|(_, size)| *size == class.size());
        let address = exact.or_else(|| self.larger(class)).map(|index| self.hand_out(index, class));
        if address.is_none() {
            self.used_bytes += class.size();
        }
        self.most_used_bytes = self.most_used_bytes.max(self.used_bytes);
        self.release_excess();
        address
    }

    /// The smallest kept block that is larger than `class`, if there is no room beside the kept ones.
    fn larger(&self, class: Layout) -> Option<usize> {
        let has_room = self.used_bytes + self.kept_bytes + class.size() <= self.most_used_bytes;
        if has_room || self.lent.iter().all(|(address, _)| *address != 0) {
            return None;
        }
        let sizes = class.size()..=class.size().saturating_mul(MAX_EXCESS);
        let kept = self.kept[..self.kept_count].iter().enumerate();
        kept.filter(|(_, (_, size))| sizes.contains(size)).min_by_key(|(_, (_, size))| *size).map(|(index, _)| index)
    }

    /// Takes kept block `index` for a request of `class`.
    fn hand_out(&mut self, index: usize, class: Layout) -> *mut u8 {
        let (address, size) = self.kept[index];
        if size != class.size()
            && let Some(place) = self.lent.iter_mut().find(|(address, _)| *address == 0)
        {
            *place = (address, size);
        }
        self.kept.copy_within(index + 1..self.kept_count, index);
        self.kept_count -= 1;
        self.kept_bytes -= size;
        self.used_bytes += size;
        address as *mut u8
    }

    /// Keeps a freed block that was asked for as `class`.
    fn keep(&mut self, block: *mut u8, class: Layout) {
        let size = match self.lent.iter_mut().find(|(address, _)| *address == block as usize) {
            Some(lent) => std::mem::take(lent).1,
            None => class.size(),
        };
        self.used_bytes -= size;
        if self.kept_count == MAX_KEPT {
            // SAFETY: the block came from the system with the layout of its class and is not used any more.
            return unsafe { System.dealloc(block, Layout::from_size_align_unchecked(size, class_align(size))) };
        }
        self.kept[self.kept_count] = (block as usize, size);
        self.kept_count += 1;
        self.kept_bytes += size;
        self.release_excess();
    }

    /// Gives the blocks kept longest back until all together take no more than was in use at once.
    fn release_excess(&mut self) {
        while self.kept_count > 0 && self.used_bytes + self.kept_bytes > self.most_used_bytes {
            let (address, size) = self.kept[0];
            self.kept.copy_within(1..self.kept_count, 0);
            self.kept_count -= 1;
            self.kept_bytes -= size;
            // SAFETY: every kept block came from the system with the layout of its class.
            unsafe { System.dealloc(address as *mut u8, Layout::from_size_align_unchecked(size, class_align(size))) };
        }
    }
}

/// Asks for huge pages: one fault instead of 512.
fn advise(block: *mut u8, class: Layout) {
    #[cfg(target_os = "linux")]
    if !block.is_null() && class.align() == HUGE_PAGE {
        // SAFETY: the range is the block's; the advice changes no content and may fail without harm.
        unsafe { libc::madvise(block.cast(), class.size(), libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (block, class);
}

// SAFETY: small layouts go to the system unchanged. Large ones are blocks of the system of their class or a larger one, as
// large and as aligned as the layout or more; a block is either kept or handed out, to one owner at a time. The class of a
// block follows from the layout it is freed with, or stands in `lent`, so that it goes back to the system with the layout
// it came with.
unsafe impl GlobalAlloc for ReusingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout has a size above 0, and so has its class.
        unsafe {
            let Some(class) = class(layout) else { return System.alloc(layout) };
            self.with_blocks(|blocks| blocks.take(class)).unwrap_or_else(|| {
                let block = System.alloc(class);
                advise(block, class);
                block
            })
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`; a kept block has at least `layout.size()` bytes.
        unsafe {
            let Some(class) = class(layout) else { return System.alloc_zeroed(layout) };
            match self.with_blocks(|blocks| blocks.take(class)) {
                Some(block) => {
                    block.write_bytes(0, layout.size());
                    block
                }
                None if class.align() < HUGE_PAGE => System.alloc_zeroed(class),
                None => {
                    let block = System.alloc(class);
                    advise(block, class);
                    if !block.is_null() {
                        block.write_bytes(0, layout.size());
                    }
                    block
                }
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with this layout.
        match class(layout) {
            None => unsafe { System.dealloc(block, layout) },
            Some(class) => self.with_blocks(|blocks| blocks.keep(block, class)),
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees a valid new layout; the regions copied are those both blocks have.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            match (class(layout), class(new_layout)) {
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
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).unwrap()
    }

    #[test]
    fn a_class_wastes_at_most_an_eighth_and_holds_its_layout() {
        for size in (MIN_SIZE..64 * 1024 * 1024).step_by(77_777) {
            let class = class(layout(size)).unwrap();
            assert!(class.size() >= size && class.size() <= size + size / 8, "{size}");
            assert_eq!(class, self::class(layout(class.size())).unwrap());
        }
        assert_eq!(class(layout(MIN_SIZE - 1)), None);
        assert_eq!(class(Layout::from_size_align(MIN_SIZE, 4096).unwrap()), None);
    }

    #[test]
    fn a_freed_block_is_handed_out_again_and_zeroed_on_request() {
        let allocator = ReusingAllocator::new();
        // SAFETY: blocks are written within their layout and freed once.
        unsafe {
            let first = allocator.alloc(layout(MIN_SIZE));
            first.write_bytes(7, MIN_SIZE);
            allocator.dealloc(first, layout(MIN_SIZE));
            let second = allocator.alloc_zeroed(layout(MIN_SIZE));
            assert_eq!(first, second);
            assert!(std::slice::from_raw_parts(second, MIN_SIZE).iter().all(|byte| *byte == 0));
            allocator.dealloc(second, layout(MIN_SIZE));
        }
    }

    #[test]
    fn kept_blocks_never_raise_the_peak() {
        let allocator = ReusingAllocator::new();
        let sizes = [MIN_SIZE, 3 * MIN_SIZE, 5 * MIN_HUGE_SIZE, MIN_HUGE_SIZE];
        // SAFETY: as above.
        unsafe {
            for size in sizes {
                let block = allocator.alloc(layout(size));
                assert_eq!(block as usize % if size >= MIN_HUGE_SIZE { HUGE_PAGE } else { 64 }, 0);
                allocator.dealloc(block, layout(size));
                allocator.with_blocks(|blocks| {
                    assert_eq!(blocks.used_bytes, 0);
                    assert!(blocks.kept_bytes <= blocks.most_used_bytes);
                });
            }
        }
        allocator.with_blocks(|blocks| assert!(blocks.most_used_bytes <= 6 * MIN_HUGE_SIZE));
    }

    #[test]
    fn where_there_is_no_room_a_larger_block_is_lent_and_keeps_its_size() {
        let allocator = ReusingAllocator::new();
        let (large, small) = (layout(4 * MIN_SIZE), layout(2 * MIN_SIZE));
        // SAFETY: as above.
        unsafe {
            let block = allocator.alloc(large);
            allocator.dealloc(block, large);
            let lent = allocator.alloc(small);
            assert_eq!(lent, block, "a new block would have cost the kept one");
            assert_eq!(allocator.realloc(lent, small, small.size() - 1), block);
            allocator.dealloc(lent, layout(small.size() - 1));
            allocator.with_blocks(|blocks| assert_eq!((blocks.used_bytes, blocks.kept_bytes), (0, large.size())));
            assert_eq!(allocator.alloc(large), block, "it is a large block again");
            let other = allocator.alloc(small);
            assert_ne!(other, block);
            allocator.dealloc(other, small);
            allocator.dealloc(block, large);
        }
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
