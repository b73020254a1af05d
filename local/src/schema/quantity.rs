//! Resource quantities: reading, comparing, adding, and the canonical form in which they are kept.
//!
//! Pure: texts and numbers.
//! Source: k8s.io/apimachinery `pkg/api/resource/quantity.go`.

use std::{cmp::Ordering, fmt};

/// What Kubernetes says of a text that is no quantity.
pub const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// An exact amount, in billionths: enough for `n`, the smallest suffix. Amounts compare by that alone; a sum is written
/// as its first part that is not zero was.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    billionths: i128,
    format: Format,
}

/// Which family of suffixes a quantity was written in; the canonical form keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

const BILLION: i128 = 1_000_000_000;
/// Numbers are cut here, as Kubernetes cuts at 2^63-1 units.
const MOST: i128 = (i64::MAX as i128) * BILLION;

/// The amount of a quantity.
pub fn parse(text: &str) -> Result<Amount, String> {
    let malformed = || MALFORMED.to_owned();
    if text.is_empty() {
        return Err("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned());
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(malformed());
    }
    let (format, multiply) = match suffix {
        "" => (Format::Decimal, Scale::Ten(0)),
        "n" => (Format::Decimal, Scale::Ten(-9)),
        "u" => (Format::Decimal, Scale::Ten(-6)),
        "m" => (Format::Decimal, Scale::Ten(-3)),
        "k" => (Format::Decimal, Scale::Ten(3)),
        "M" => (Format::Decimal, Scale::Ten(6)),
        "G" => (Format::Decimal, Scale::Ten(9)),
        "T" => (Format::Decimal, Scale::Ten(12)),
        "P" => (Format::Decimal, Scale::Ten(15)),
        "E" => (Format::Decimal, Scale::Ten(18)),
        "Ki" => (Format::Binary, Scale::Two(10)),
        "Mi" => (Format::Binary, Scale::Two(20)),
        "Gi" => (Format::Binary, Scale::Two(30)),
        "Ti" => (Format::Binary, Scale::Two(40)),
        "Pi" => (Format::Binary, Scale::Two(50)),
        "Ei" => (Format::Binary, Scale::Two(60)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(malformed)?;
            let exponent: i32 = exponent.parse().map_err(|_| malformed())?;
            (Format::Exponent, Scale::Ten(exponent))
        }
    };
    let mut amount = scaled(whole, fraction, multiply);
    if negative {
        amount = -amount;
    }
    Ok(Amount { billionths: amount, format })
}

/// The quantity as Kubernetes writes it: no fraction, the largest suffix that keeps it whole.
pub fn canonical(text: &str) -> Result<String, String> {
    parse(text).map(|it| it.to_string())
}

impl Amount {
    pub const ZERO: Amount = Amount { billionths: 0, format: Format::Decimal };

    /// Whole units, rounded up as Kubernetes' `Value` does.
    pub fn units(self) -> i64 {
        let up = self.billionths.div_euclid(BILLION)
            + i128::from(self.billionths.rem_euclid(BILLION) != 0);
        up.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Thousandths, rounded up.
    pub fn thousandths(self) -> i64 {
        let unit = BILLION / 1000;
        let up =
            self.billionths.div_euclid(unit) + i128::from(self.billionths.rem_euclid(unit) != 0);
        up.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    pub fn is_negative(self) -> bool {
        self.billionths < 0
    }

    /// Whether there are parts smaller than one unit.
    pub fn is_fractional(self) -> bool {
        self.billionths % BILLION != 0
    }

    /// The sum, cut at the largest amount.
    pub fn plus(self, other: Amount) -> Amount {
        let sum = self.billionths.saturating_add(other.billionths).clamp(-MOST, MOST);
        let format = if self.billionths == 0 { other.format } else { self.format };
        Amount { billionths: sum, format }
    }

    /// What is left of it, or zero.
    pub fn less(self, other: Amount) -> Amount {
        Amount { billionths: (self.billionths - other.billionths).max(0), ..self }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.billionths == other.billionths
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Amount) -> Ordering {
        self.billionths.cmp(&other.billionths)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(self.billionths, self.format))
    }
}

/// Compares two quantities by amount; malformed ones are zero.
pub fn compare(a: &str, b: &str) -> Ordering {
    let amount = |text| parse(text).unwrap_or(Amount::ZERO);
    amount(a).cmp(&amount(b))
}

enum Scale {
    Ten(i32),
    Two(u32),
}

/// Billionths, rounded away from zero, cut at the largest amount.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // Nineteen digits and a scale of 10^18 overflow nothing below when cut first.
    let digits = |text: &str| text.trim_start_matches('0').len();
    if digits(whole) > 19 {
        return MOST;
    }
    let whole: i128 = whole.parse().unwrap_or(0);
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(18).collect();
    let fraction: i128 = kept.parse().unwrap_or(0);
    let up = |value: i128, by: i128| value / by + i128::from(value % by != 0);
    match scale {
        Scale::Two(bits) => {
            let whole = whole.saturating_mul(1 << bits).saturating_mul(BILLION);
            // The fraction is below one: at most 10^18 · 2^60 < 2^127.
            whole.saturating_add(up(fraction.saturating_mul(1 << bits), BILLION)).min(MOST)
        }
        Scale::Ten(power) if power >= 0 => {
            let factor = 10_i128.checked_pow(power.min(28) as u32).unwrap_or(i128::MAX);
            let whole = whole.saturating_mul(factor).saturating_mul(BILLION);
            whole.saturating_add(up(fraction.saturating_mul(factor), BILLION)).min(MOST)
        }
        Scale::Ten(power) => {
            let divisor = 10_i128.checked_pow((-power).min(28) as u32).unwrap_or(i128::MAX);
            // In units of 10^-18, so that nothing is lost before rounding up.
            up(
                up(whole.saturating_mul(BILLION * BILLION).saturating_add(fraction), divisor),
                BILLION,
            )
        }
    }
}

fn write(value: i128, format: Format) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    let format = match format {
        // Too small or not whole for binary suffixes.
        Format::Binary if value.abs() < 1024 * BILLION || value % BILLION != 0 => Format::Decimal,
        other => other,
    };
    match format {
        Format::Binary => {
            let mut units = value / BILLION;
            let mut suffix = 0;
            while units % 1024 == 0 && suffix < 6 {
                units /= 1024;
                suffix += 1;
            }
            format!("{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix])
        }
        Format::Decimal | Format::Exponent => {
            let mut units = value;
            let mut power = -9;
            while units % 1000 == 0 && power < 18 {
                units /= 1000;
                power += 3;
            }
            if format == Format::Exponent {
                return if power == 0 { units.to_string() } else { format!("{units}e{power}") };
            }
            let suffix =
                ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((power + 9) / 3) as usize];
            format!("{units}{suffix}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_written_as_its_parts() {
        for (a, b, sum) in [
            ("0", "1Gi", "1Gi"),
            ("1Gi", "512Mi", "1536Mi"),
            ("500m", "500m", "1"),
            ("1Gi", "1G", "2073741824"),
            ("200M", "100Mi", "304857600"),
        ] {
            let amount = |text| parse(text).unwrap();
            assert_eq!(amount(a).plus(amount(b)).to_string(), sum, "{a} {b}");
        }
    }

    #[test]
    fn keeps_the_amount_in_its_canonical_form() {
        for (given, kept) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("100Mi", "100Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1024", "1024"),
            ("-1", "-1"),
            ("0.1", "100m"),
            ("1Ki", "1Ki"),
            (".5", "500m"),
            ("0.0000000001", "1n"),
            ("1E", "1E"),
            ("100k", "100k"),
            ("0.001Ki", "1024m"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(kept), "{given}");
        }
        for bad in ["", "x", "1x", "1.1.1", "Mi", "1 Mi", "1e", "--1", "."] {
            assert_eq!(canonical(bad), Err(MALFORMED.to_owned()), "{bad}");
        }
    }
}
