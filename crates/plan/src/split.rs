//! How the instances of a worker pool are divided among its revisions.

use std::collections::BTreeMap;

/// So many of `count` for each by its share in percent; together they are all of them, when the shares make 100.
///
/// Each gets the whole part of what is its own, and what is left goes one by one to those that lack most of theirs (the
/// method of the largest remainder), of equals to the larger share, of these to the first. So nobody is further than one
/// instance from its share, and a share of nothing gets nothing.
pub fn divide<'a>(count: u32, shares: &BTreeMap<&'a str, u32>) -> BTreeMap<&'a str, u32> {
    let whole = |percent: u32| u64::from(count) * u64::from(percent);
    let mut divided: BTreeMap<&str, u32> =
        shares.iter().map(|(id, percent)| (*id, u32::try_from(whole(*percent) / 100).unwrap_or(count))).collect();
    let given: u32 = divided.values().sum();
    let wanted: u64 = shares.values().map(|percent| whole(*percent)).sum::<u64>() / 100;
    let left = usize::try_from(wanted.saturating_sub(given.into())).unwrap_or(usize::MAX);
    let mut lacking: Vec<(u64, u32, &str)> =
        shares.iter().map(|(id, percent)| (whole(*percent) % 100, *percent, *id)).collect();
    lacking.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then(a.2.cmp(b.2)));
    for (_, _, id) in lacking.into_iter().filter(|(lacks, ..)| *lacks > 0).take(left) {
        divided.entry(id).and_modify(|count| *count += 1);
    }
    divided
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a 50, b 50`.
    fn shares(text: &str) -> BTreeMap<&str, u32> {
        let words = text.split(", ").filter_map(|share| share.split_once(' '));
        words.map(|(id, percent)| (id, percent.parse().expect("a number"))).collect()
    }

    fn said(count: u32, text: &str) -> String {
        let divided: Vec<String> =
            divide(count, &shares(text)).iter().map(|(id, count)| format!("{id} {count}")).collect();
        divided.join(", ")
    }

    #[test]
    fn what_can_be_divided_is() {
        for (count, split, want) in [
            (4, "a 50, b 50", "a 2, b 2"),
            (1, "a 100", "a 1"),
            (0, "a 60, b 40", "a 0, b 0"),
            (10, "a 20, b 80", "a 2, b 8"),
            (10_000, "a 1, b 99", "a 100, b 9900"),
        ] {
            assert_eq!(said(count, split), want, "{count} of {split}");
        }
    }

    #[test]
    fn what_is_left_goes_to_those_that_lack_most_of_theirs() {
        for (count, split, want) in [
            (3, "a 50, b 50", "a 2, b 1"),
            (1, "a 10, b 90", "a 0, b 1"),
            (1, "a 50, b 50", "a 1, b 0"),
            (2, "a 34, b 33, c 33", "a 1, b 1, c 0"),
            (3, "a 34, b 33, c 33", "a 1, b 1, c 1"),
            (7, "a 10, b 30, c 60", "a 1, b 2, c 4"),
            (5, "a 0, b 99, c 1", "a 0, b 5, c 0"),
        ] {
            assert_eq!(said(count, split), want, "{count} of {split}");
        }
    }

    #[test]
    fn together_they_are_all_of_them_and_nobody_is_an_instance_off() {
        for count in (0..50).chain([9_999]) {
            for first in 0..=100 {
                for second in 0..=100 - first {
                    let shares = BTreeMap::from([("a", first), ("b", second), ("c", 100 - first - second)]);
                    let divided = divide(count, &shares);
                    assert_eq!(divided.values().sum::<u32>(), count, "{count} of {shares:?}");
                    for (id, percent) in &shares {
                        let off = i64::from(divided[id]) * 100 - i64::from(count) * i64::from(*percent);
                        assert!(off.abs() < 100, "{count} of {shares:?}: {divided:?}");
                    }
                }
            }
        }
    }
}
