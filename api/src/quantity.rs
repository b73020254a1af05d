//! Quantities of CPU, memory and storage: read, compared, and printed in their canonical form.
//!
//! Pure: text in, values out.
//! Source: kubernetes/apimachinery `pkg/api/resource`.

use std::cmp::Ordering;

/// Text of the error for what is no quantity at all.
pub const WRONG_FORMAT: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
/// Text of the error for an unknown unit.
pub const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";

/// Smallest unit that is kept: a nano.
const NANO: i128 = 1_000_000_000;

/// How a quantity was written, and so how it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `Ki`, `Mi` …
    Binary,
    /// `m`, `k`, `M` …
    Decimal,
    /// `1e3`.
    Exponent,
}

/// An amount, exact to a billionth; what is smaller is rounded away from zero.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    nanos: i128,
    form: Form,
}

impl Amount {
    /// Reads `100m`, `1.5Gi`, `1e3`.
    pub fn parse(text: &str) -> Result<Amount, &'static str> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_len =
            rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(WRONG_FORMAT);
        }
        let letters = suffix.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
        let tail = &suffix[letters..];
        let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
        if !tail.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WRONG_FORMAT);
        }
        let (form, base, exponent): (Form, i128, i32) = match suffix {
            "" => (Form::Decimal, 10, 0),
            "n" => (Form::Decimal, 10, -9),
            "u" => (Form::Decimal, 10, -6),
            "m" => (Form::Decimal, 10, -3),
            "k" => (Form::Decimal, 10, 3),
            "M" => (Form::Decimal, 10, 6),
            "G" => (Form::Decimal, 10, 9),
            "T" => (Form::Decimal, 10, 12),
            "P" => (Form::Decimal, 10, 15),
            "E" => (Form::Decimal, 10, 18),
            "Ki" => (Form::Binary, 2, 10),
            "Mi" => (Form::Binary, 2, 20),
            "Gi" => (Form::Binary, 2, 30),
            "Ti" => (Form::Binary, 2, 40),
            "Pi" => (Form::Binary, 2, 50),
            "Ei" => (Form::Binary, 2, 60),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok());
                (Form::Exponent, 10, exponent.ok_or(WRONG_SUFFIX)?)
            }
        };
        // 27 digits are far above what any node has; more is cut to the largest amount there is.
        let digits: String = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let mut value: i128 = if digits.is_empty() {
            0
        } else if digits.len() > 27 {
            i128::from(i64::MAX) * NANO
        } else {
            digits.parse().map_err(|_| WRONG_FORMAT)?
        };
        // value × base^exponent ÷ 10^fraction digits, in nanos.
        let mut tens = 9 - i32::try_from(fraction.len()).map_err(|_| WRONG_FORMAT)?;
        if base == 10 {
            tens = tens.saturating_add(exponent);
        } else {
            value = value.saturating_mul(1i128 << exponent);
        }
        let most = i128::from(i64::MAX) * NANO;
        while tens > 0 && value != 0 && value < most {
            value = value.saturating_mul(10);
            tens -= 1;
        }
        let mut inexact = false;
        while tens < 0 && value != 0 {
            inexact |= value % 10 != 0;
            value /= 10;
            tens += 1;
        }
        let value = (value + i128::from(inexact)).min(most);
        Ok(Amount { nanos: if negative { -value } else { value }, form })
    }

    /// True for 0.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// True below 0.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i64 {
        let milli = self.nanos.div_euclid(1_000_000) + i128::from(self.nanos % 1_000_000 != 0);
        i64::try_from(milli).unwrap_or(i64::MAX)
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        let whole = self.nanos.div_euclid(NANO) + i128::from(self.nanos % NANO != 0);
        i64::try_from(whole).unwrap_or(i64::MAX)
    }

    /// The same amount in as few digits as its form allows: `1000m` is `1`, `1024Ki` is `1Mi`.
    pub fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".to_string();
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let mut size = self.nanos.abs();
        // Binary units need a whole number of at least 1024; others are printed as decimals.
        if self.form == Form::Binary && size % NANO == 0 && size / NANO >= 1024 {
            let mut whole = size / NANO;
            let mut unit = 0;
            while whole % 1024 == 0 && unit < 6 {
                whole /= 1024;
                unit += 1;
            }
            let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            return format!("{sign}{whole}{}", units[unit]);
        }
        let mut exponent = -9;
        while size % 1000 == 0 && exponent < 18 {
            size /= 1000;
            exponent += 3;
        }
        if self.form == Form::Exponent {
            let exponent = if exponent == 0 { String::new() } else { format!("e{exponent}") };
            return format!("{sign}{size}{exponent}");
        }
        let units = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let unit = usize::try_from((exponent + 9) / 3).expect("exponents are -9 to 18");
        format!("{sign}{size}{}", units[unit])
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;

    /// The sum, in the form of the first.
    fn add(self, other: Amount) -> Amount {
        Amount { nanos: self.nanos.saturating_add(other.nanos), form: self.form }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_one_canonical_form() {
        for (text, canonical) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("100M", "100M"),
            ("1000", "1k"),
            ("0", "0"),
            ("-1", "-1"),
            ("512", "512"),
            ("128Mi", "128Mi"),
            ("1e3", "1e3"),
            ("1e2", "100"),
            ("0.5Ki", "512"),
            ("0.1n", "1n"),
            ("5000000Gi", "5000000Gi"),
        ] {
            let amount = Amount::parse(text).expect(text);
            assert_eq!(amount.canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_said() {
        for (text, error) in [
            ("", WRONG_FORMAT),
            ("abc", WRONG_FORMAT),
            ("1..2", WRONG_FORMAT),
            ("1x", WRONG_FORMAT),
            ("1KK", WRONG_SUFFIX),
            ("1mi", WRONG_SUFFIX),
        ] {
            assert_eq!(Amount::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn amounts_compare_across_units() {
        let amount = |text| Amount::parse(text).expect(text);
        assert_eq!(amount("1Gi"), amount("1024Mi"));
        assert!(amount("100m") < amount("1"));
        assert_eq!(amount("1.0001").milli(), 1001);
        assert_eq!(amount("500m").value(), 1);
    }
}
