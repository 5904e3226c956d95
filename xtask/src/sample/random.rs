//! Numbers that depend on the seed alone. Written here, and not taken from `rand`, because the same seed must give the
//! same rows with every version of every dependency.

/// A splitmix64 generator. Not for secrets.
pub struct Random(u64);

/// The 128 bits of a version 4 UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub u64, pub u64);

impl Random {
    /// The stream of numbers of thing `n` of the kind `name`; different names and `n` give unrelated streams.
    pub fn of(seed: u64, name: &str, n: u64) -> Self {
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(mixed(mixed(seed) ^ state).wrapping_add(mixed(n ^ 0x5851_f42d_4c95_7f2d)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 0 to `bound` - 1; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (((self.bits() >> 32) * bound as u64) >> 32) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + ((u128::from(self.bits()) * (high - low + 1) as u128) >> 64) as i64
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    /// One of the items, which must not be none.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &'a [&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.bits(), self.bits());
        Uuid((high & !0xf000) | 0x4000, (low & !(0b11 << 62)) | (0b10 << 62))
    }
}

fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn streams_repeat_for_one_seed_and_differ_between_names_and_numbers() {
        let first = |seed, name, n| Random::of(seed, name, n).bits();
        assert_eq!(first(1, "guests", 1), first(1, "guests", 1));
        let all = [first(1, "guests", 1), first(2, "guests", 1), first(1, "guest", 1), first(1, "guests", 2)];
        for (i, value) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(value));
        }
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::of(7, "bounds", 0);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((-2..=2).contains(&random.between(-2, 2)));
        }
    }
}
