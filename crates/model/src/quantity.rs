//! Kubernetes quantities, as far as CPU and memory limits are written with them.
//!
//! Source: Kubernetes API reference, `Quantity`; Cloud Run documents `1000m` and `512Mi` as usual forms.

/// Thousandths of a CPU: `1`, `0.5`, `1000m`. `None` for anything else, and for finer fractions.
pub fn cpu_millis(text: &str) -> Option<u32> {
    match text.strip_suffix('m') {
        Some(millis) => digits(millis)?.try_into().ok(),
        None => scaled(text, 1000)?.try_into().ok(),
    }
}

/// Bytes: `512Mi`, `1Gi`, `1G`, `1.5Gi`, `1073741824`. `None` for anything else.
pub fn memory_bytes(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    scaled(text.strip_suffix(suffix)?, *factor)
}

/// `number × factor` where the number may have a fraction, if the product is whole.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits of fraction times a terabyte still fit 128 bits.
    if fraction.len() > 9 {
        return None;
    }
    let unit = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = u128::from(digits(fraction)?) * u128::from(factor);
    if !parts.is_multiple_of(unit) {
        return None;
    }
    let total = u128::from(digits(whole)?).checked_mul(u128::from(factor))?.checked_add(parts / unit)?;
    u64::try_from(total).ok()
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_written_whole_as_fractions_or_in_thousandths() {
        let read: Vec<_> =
            ["1", "1000m", "0.5", "80m", "0.08", "2.", "", "m", "-1", "1.0005", "x"].map(cpu_millis).into();
        assert_eq!(read, [Some(1000), Some(1000), Some(500), Some(80), Some(80), None, None, None, None, None, None]);
    }

    #[test]
    fn memory_has_binary_and_decimal_units() {
        assert_eq!(memory_bytes("512Mi"), Some(512 << 20));
        assert_eq!(memory_bytes("1Gi"), Some(1 << 30));
        assert_eq!(memory_bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(memory_bytes("1G"), Some(1_000_000_000));
        assert_eq!(memory_bytes("1024"), Some(1024));
        for bad in ["", "Gi", "1GiB", "-1Gi", "1 Gi", "1e9", "99999999999999999999Ti"] {
            assert_eq!(memory_bytes(bad), None, "{bad}");
        }
    }
}
