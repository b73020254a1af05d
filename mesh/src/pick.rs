//! Chooses by weight.
//!
//! Pure: the caller brings the random number.

/// The index of the weight into which `random` falls, when the weights stand side by side from 0 to
/// their sum and `random`'s range is stretched over them. Nothing when all weights are 0.
pub fn weighted(weights: impl Iterator<Item = u32> + Clone, random: u32) -> Option<usize> {
    let sum: u64 = weights.clone().map(u64::from).sum();
    let mut place = (u64::from(random) * sum) >> 32;
    for (index, weight) in weights.enumerate() {
        match place.checked_sub(u64::from(weight)) {
            None => return Some(index),
            Some(rest) => place = rest,
        }
    }
    None
}

/// Spreads the bits of a counter so that its values look random: SplitMix64's mixer. Good enough to
/// share requests out, not to keep secrets.
pub fn scramble(counter: u64) -> u32 {
    let mut bits = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_weight_has_its_share() {
        for weights in [&[100][..], &[90, 10], &[0, 100], &[100, 0], &[1, 1, 1], &[33, 33, 34]] {
            let sum: u32 = weights.iter().sum();
            let mut counts = vec![0u32; weights.len()];
            const DRAWS: u32 = 20_000;
            for draw in 0..DRAWS {
                let random = scramble(u64::from(draw));
                counts[weighted(weights.iter().copied(), random).expect("some weight")] += 1;
            }
            for (count, weight) in counts.iter().zip(weights) {
                let wanted = DRAWS * weight / sum;
                assert!(count.abs_diff(wanted) < DRAWS / 100, "{weights:?} {counts:?}");
                assert!(*weight > 0 || *count == 0);
            }
        }
        assert_eq!(weighted([0, 0].into_iter(), 5), None);
        assert_eq!(weighted([1, 1].into_iter(), u32::MAX), Some(1));
        assert_eq!(weighted([1, 1].into_iter(), 0), Some(0));
    }
}
