//! ISO 8601 durations, as deliveries have them: `PT0.2S`, `P1DT2H`.
//!
//! Pure: values only. Source: rickb777/date `period/parse.go`, which keeps one digit after the point; here all count.

use std::time::Duration;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;
/// A year has 365.2425 days, as upstream counts it, and a month is its twelfth part.
const YEAR: i128 = 31_556_952 * SECOND;

/// A span of time, which may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    nanos: i128,
}

impl Period {
    /// Reads one; the error is upstream's.
    pub fn parse(text: &str) -> Result<Period, String> {
        if text.is_empty() {
            return Err("cannot parse a blank string as a period".to_string());
        }
        if text == "P0" {
            return Ok(Period { nanos: 0 });
        }
        let (sign, rest) = match text.as_bytes()[0] {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let Some(rest) = rest.strip_prefix('P') else {
            return Err(format!("expected 'P' period mark at the start: {text}"));
        };
        let (date, time) = match rest.split_once('T') {
            Some((date, time)) => (date, time),
            None => (rest, ""),
        };
        let mut found = 0;
        let mut nanos = 0;
        for (mut part, marks) in [
            (time, &[('H', 3600 * SECOND), ('M', 60 * SECOND), ('S', SECOND)][..]),
            (date, &[('Y', YEAR), ('M', YEAR / 12), ('W', 7 * DAY), ('D', DAY)][..]),
        ] {
            for (mark, unit) in marks {
                let Some(at) = part.find(*mark).filter(|at| *at > 0) else { continue };
                let number = decimal(&part[..at], *unit).ok_or_else(|| {
                    format!("expected a number before the '{mark}' marker: {text}")
                })?;
                nanos += number;
                found += 1;
                part = &part[at + 1..];
            }
            if !part.is_empty() {
                return Err(format!("unexpected remaining components {part}: {text}"));
            }
        }
        if found == 0 {
            return Err(format!("expected 'Y', 'M', 'W', 'D', 'H', 'M', or 'S' marker: {text}"));
        }
        Ok(Period { nanos: sign * nanos })
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// As a span; nothing for a negative one, the longest for one that is longer.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// A number with a point or comma, times `unit`; none where it is no number, or too large for one.
fn decimal(text: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let is_negative = whole.starts_with('-');
    let whole = i128::from(whole.parse::<i64>().ok()?);
    // Nine digits are nanoseconds of a second; what is smaller makes no difference.
    let digits: String = fraction.chars().take(9).collect();
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scaled: i128 = format!("{digits:0<9}").parse().ok()?;
    let part = scaled * unit / SECOND;
    Some(whole * unit + if is_negative { -part } else { part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("PT0.2S", 200),
            ("PT1,5S", 1500),
            ("P0", 0),
            ("P0D", 0),
            ("PT1H2M3S", 3_723_000),
            ("P1DT1S", 86_401_000),
            ("P2W", 1_209_600_000),
            ("+PT1M", 60_000),
        ] {
            let found = Period::parse(text).expect(text);
            assert_eq!(found.duration(), Duration::from_millis(millis), "{text}");
            assert_eq!(found.is_zero(), millis == 0, "{text}");
        }
        for text in ["-PT1S", "PT-1S", "PT-0.5S"] {
            assert!(Period::parse(text).expect(text).is_negative(), "{text}");
        }
        for (text, why) in [
            ("", "cannot parse a blank string as a period"),
            ("1s", "expected 'P' period mark at the start: 1s"),
            ("P", "expected 'Y', 'M', 'W', 'D', 'H', 'M', or 'S' marker: P"),
            ("PT", "expected 'Y', 'M', 'W', 'D', 'H', 'M', or 'S' marker: PT"),
            ("PTxS", "expected a number before the 'S' marker: PTxS"),
            ("P1DX", "unexpected remaining components X: P1DX"),
        ] {
            assert_eq!(Period::parse(text), Err(why.to_string()), "{text}");
        }
    }
}
