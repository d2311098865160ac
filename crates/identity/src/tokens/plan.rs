//! Which key signs, when the next one is made, and when an old one goes: decided purely.
//!
//! Each key has one date, from which it signs; everything follows from these dates and the time. A new key is made, and
//! so published, [`AHEAD`] before it signs, and an old one stays published until the last token that it can have signed
//! is over. The figures are those that Google states for the keys of service accounts: at least six hours ahead, two
//! weeks of signing, at least six hours after.

use std::fmt;

use super::LIFETIME_MAX;
use crate::jwt::CLOCK_SKEW;

/// How long a key is published before it signs, in seconds. Verifiers may keep a list of keys for less than that.
pub(super) const AHEAD: u64 = 6 * 3600;
/// How long a key signs, in seconds.
pub(super) const TERM: u64 = 14 * 24 * 3600;
/// How long a key stays published after it last signed, in seconds.
pub(super) const TRAIL: u64 = LIFETIME_MAX.as_secs() + CLOCK_SKEW.as_secs();

/// A key, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dated<'a> {
    /// Its id.
    pub(super) kid: &'a str,
    /// From when on it signs, in seconds since 1970.
    pub(super) from: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan<'a> {
    /// Who signs now; `None` when nobody can before a key is made.
    pub(super) signer: Option<&'a str>,
    /// A key is to be made, that signs from this time on.
    pub(super) make: Option<u64>,
    /// Who goes.
    pub(super) drop: Vec<&'a str>,
}

/// Decides what to do about these keys at this time.
pub(super) fn plan<'a>(keys: &[Dated<'a>], now: u64) -> Plan<'a> {
    // A date so far ahead was written by a clock that was wrong: whoever waited for it would never change keys again. A
    // clock that goes back by days takes nothing away.
    let (mut usable, astray): (Vec<_>, Vec<_>) = keys.iter().copied().partition(|key| key.from <= now + 2 * TERM);
    let mut plan = Plan { drop: astray.iter().map(|key| key.kid).collect(), ..Plan::default() };
    usable.sort_by_key(|key| key.from);
    // Where the clock went back behind all of them, the oldest signs.
    let Some(current) = usable.iter().rposition(|key| key.from <= now).or_else(|| (!usable.is_empty()).then_some(0))
    else {
        plan.make = Some(now);
        return plan;
    };
    let signer = usable[current];
    plan.signer = Some(signer.kid);
    let is_last = current + 1 == usable.len();
    if is_last && now + AHEAD >= signer.from + TERM {
        plan.make = Some((now + AHEAD).max(signer.from + TERM));
    }
    // What came before signed until its successor's date.
    let over = usable.windows(2).take(current).filter(|pair| now > pair[1].from + TRAIL);
    plan.drop.extend(over.map(|pair| pair[0].kid));
    plan
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sign with {}", self.signer.unwrap_or("nothing"))?;
        if let Some(from) = self.make {
            write!(f, ", make one that signs from {from}")?;
        }
        for kid in &self.drop {
            write!(f, ", drop {kid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: u64 = 3600;
    const D: u64 = 24 * H;
    /// When the first key of the table signs.
    const T: u64 = 1_000 * D;

    #[test]
    fn keys_overlap_and_none_goes_before_its_last_token() {
        let (a, b, c) = (T, T + TERM, T + 2 * TERM);
        for (keys, now, expected) in [
            (&[][..], T, format!("sign with nothing, make one that signs from {T}")),
            (&[("a", a)], T, "sign with a".to_owned()),
            (&[("a", a)], b - AHEAD - 1, "sign with a".to_owned()),
            // In time: published six hours before it signs.
            (&[("a", a)], b - AHEAD, format!("sign with a, make one that signs from {b}")),
            // Late, because nobody asked meanwhile: still six hours.
            (&[("a", a)], b + 9 * D, format!("sign with a, make one that signs from {}", b + 9 * D + AHEAD)),
            (&[("a", a), ("b", b)], b - 1, "sign with a".to_owned()),
            (&[("b", b), ("a", a)], b, "sign with b".to_owned()),
            (&[("a", a), ("b", b)], b + TRAIL, "sign with b".to_owned()),
            (&[("a", a), ("b", b)], b + TRAIL + 1, "sign with b, drop a".to_owned()),
            (&[("a", a), ("b", b)], c - AHEAD, format!("sign with b, make one that signs from {c}, drop a")),
            (&[("a", a), ("b", b), ("c", c)], c + 1, "sign with c, drop a".to_owned()),
            // The clock went back.
            (&[("a", a), ("b", b)], a - D, "sign with a".to_owned()),
            (&[("b", b)], a, "sign with b".to_owned()),
            // The clock was in another century.
            (&[("z", T + 40_000 * D)], T, format!("sign with nothing, make one that signs from {T}, drop z")),
            (&[("a", a), ("z", T + 40_000 * D)], T, "sign with a, drop z".to_owned()),
        ] {
            let dated: Vec<Dated<'_>> = keys.iter().map(|&(kid, from)| Dated { kid, from }).collect();
            assert_eq!(plan(&dated, now).to_string(), expected, "{keys:?} at {now}");
        }
    }

    #[test]
    fn a_year_of_daily_looks_never_signs_with_a_key_that_was_not_published_ahead() {
        let mut keys: Vec<(String, u64, u64)> = Vec::new();
        for hour in 0..366 * 24 {
            let now = T + hour * H;
            let dated: Vec<Dated<'_>> = keys.iter().map(|(kid, from, _)| Dated { kid, from: *from }).collect();
            let plan = plan(&dated, now);
            let signer = keys.iter().find(|(kid, ..)| Some(kid.as_str()) == plan.signer);
            if let Some((kid, from, made)) = signer {
                assert!(kid == "k0" || now >= made + AHEAD, "{kid} signs too early");
                assert!(*from <= now && now < from + TERM + H, "{kid} signs outside of its time");
            }
            let (make, drop): (_, Vec<String>) = (plan.make, plan.drop.iter().map(|&kid| kid.to_owned()).collect());
            keys.retain(|(kid, ..)| !drop.contains(kid));
            if let Some(from) = make {
                keys.push((format!("k{}", from), from, now));
                if hour == 0 {
                    keys[0].0 = "k0".to_owned();
                }
            }
            assert!((1..=3).contains(&keys.len()), "{} keys", keys.len());
        }
    }
}
