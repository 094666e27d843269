//! Memory for one channel.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the longest vector.
const LINE_BYTES: usize = 64;

/// Values that start at the edge of a cache line: a vector that crosses one costs two accesses.
#[derive(Debug, Default)]
pub(super) struct Plane {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Plane {
    /// Changes the length; the values are then unspecified.
    pub(super) fn resize(&mut self, len: usize) {
        let spare = LINE_BYTES / size_of::<f32>();
        if self.memory.len() < len + spare {
            self.memory.resize(len + spare, 0.0);
        }
        self.len = len;
        // May be refused in theory; then it starts where it is.
        self.start = self.memory.as_ptr().align_offset(LINE_BYTES).min(spare);
    }
}

impl Deref for Plane {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Plane {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
impl Clone for Plane {
    fn clone(&self) -> Self {
        self.iter().copied().collect()
    }
}

#[cfg(test)]
impl FromIterator<f32> for Plane {
    fn from_iter<I: IntoIterator<Item = f32>>(values: I) -> Self {
        let values: Vec<f32> = values.into_iter().collect();
        let mut plane = Self::default();
        plane.resize(values.len());
        plane.copy_from_slice(&values);
        plane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plane_starts_at_a_cache_line_and_keeps_its_length() {
        let mut plane = Plane::default();
        for len in [1, 100, 7, 50_176] {
            plane.resize(len);
            assert_eq!((plane.len(), plane.as_ptr().addr() % LINE_BYTES), (len, 0));
            plane.fill(1.0);
        }
    }
}
