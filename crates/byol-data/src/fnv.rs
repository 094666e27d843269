//! The hash of fingerprints and of the names of indexes.

/// The FNV-1a hash (<http://www.isthe.com/chongo/tech/comp/fnv/>); the standard library's may change with its version.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    }

    pub fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        let mut hash = Fnv::default();
        hash.add(b"foobar");
        assert_eq!(hash.finish(), 0x8594_4171_F739_67E8);
    }
}
