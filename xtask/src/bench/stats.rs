//! Middles and ends of series.

use std::time::Duration;

/// The value below which `share` percent of a sorted series are; `None` of an empty one.
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: usize) -> Option<T> {
    sorted.get(sorted.len().saturating_sub(1) * share / 100).copied()
}

/// The middle of a series; `None` of an empty one.
pub(crate) fn median(series: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = series.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 50)
}

/// In milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_does_not_care_about_the_order_nor_about_one_that_is_far_off() {
        assert_eq!(median([900.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
        assert_eq!(percentile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 90), Some(10));
    }
}
