//! Values read and printed as Go does it: the texts of Knative's errors hold them.
//!
//! Pure: text in, values out.
//! Source: Go's `strconv`, `time` and `fmt`.

pub mod decode;
pub mod template;
pub mod url;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// JSON as `json.Marshal` writes it: with what would mean something in HTML, and what ends lines in JavaScript, escaped.
pub fn json(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    // None of these occurs in JSON outside of a string.
    const ESCAPED: [(char, &str); 5] = [
        ('<', r"\u003c"),
        ('>', r"\u003e"),
        ('&', r"\u0026"),
        ('\u{2028}', r"\u2028"),
        ('\u{2029}', r"\u2029"),
    ];
    let mut text = serde_json::to_string(value)?;
    for (character, escaped) in ESCAPED {
        if text.contains(character) {
            text = text.replace(character, escaped);
        }
    }
    Ok(text)
}

/// Reads a boolean; the error is `strconv.ParseBool`'s.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// Reads a decimal integer of `bits` bits; the error is `strconv.ParseInt`'s.
pub fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseInt: parsing {}: {why}", quote(text)));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return fail("invalid syntax");
    }
    let limit = 1i128 << (bits - 1);
    match text.parse::<i128>() {
        Ok(value) if -limit <= value && value < limit => Ok(value as i64),
        _ => fail("value out of range"),
    }
}

/// Reads a decimal integer without sign of `bits` bits; the error is `strconv.ParseUint`'s.
pub fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseUint: parsing {}: {why}", quote(text)));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return fail("invalid syntax");
    }
    match text.parse::<u128>() {
        Ok(value) if value < 1u128 << bits => Ok(value as u64),
        _ => fail("value out of range"),
    }
}

/// Reads a floating-point number; the error is `strconv.ParseFloat`'s.
pub fn parse_float(text: &str) -> Result<f64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseFloat: parsing {}: {why}", quote(text)));
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) => {
            fail("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => fail("invalid syntax"),
    }
}

/// Reads a duration such as `1h2m3.5s`, in nanoseconds; the error is `time.ParseDuration`'s.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_len);
        rest = after;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.bytes().take_while(u8::is_ascii_digit).count();
            (fraction, rest) = after.split_at(len);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = rest.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
        if unit_len == 0 {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let (unit, after) = rest.split_at(unit_len);
        rest = after;
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        let whole: i128 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let fraction: f64 = if fraction.is_empty() {
            0.0
        } else {
            format!("0.{fraction}").parse().map_err(|_| invalid())?
        };
        total = whole
            .checked_mul(scale)
            .and_then(|nanos| nanos.checked_add((fraction * scale as f64) as i128))
            .and_then(|nanos| nanos.checked_add(total))
            .ok_or_else(invalid)?;
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

/// Prints a duration in nanoseconds as `time.Duration.String` does: `1h0m0s`, `1.5s`, `10ms`.
pub fn format_duration(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if size == 0 {
        return "0s".to_string();
    }
    let with_fraction = |whole: u64, fraction: u64, width: usize| {
        if fraction == 0 {
            return whole.to_string();
        }
        let digits = format!("{fraction:0width$}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    };
    if size < 1_000 {
        return format!("{sign}{size}ns");
    }
    if size < 1_000_000 {
        return format!("{sign}{}µs", with_fraction(size / 1_000, size % 1_000, 3));
    }
    if size < SECOND as u64 {
        return format!("{sign}{}ms", with_fraction(size / 1_000_000, size % 1_000_000, 6));
    }
    let seconds = size / SECOND as u64;
    let last = with_fraction(seconds % 60, size % SECOND as u64, 9);
    let minutes = seconds / 60;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{last}s"),
        (0, minutes) => format!("{sign}{minutes}m{last}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{last}s"),
    }
}

/// Prints a number as the verb `%v` does: shortest digits, an exponent for very small and large ones.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("LowerExp prints an exponent");
        let exponent: i32 = exponent.parse().expect("an exponent is an integer");
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

/// Quotes `text` as the verb `%q` does.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            letter if (letter as u32) < 0x80 && letter.is_control() => {
                quoted.push_str(&format!("\\x{:02x}", letter as u32));
            }
            letter if letter.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", letter as u32));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (text, printed) in [
            ("0", "0s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("6500ms", "6.5s"),
            ("-1s", "-1s"),
            ("10ms", "10ms"),
            ("1.5us", "1.5µs"),
            ("7ns", "7ns"),
            ("1h2m3.004s", "1h2m3.004s"),
        ] {
            assert_eq!(parse_duration(text).map(format_duration), Ok(printed.to_string()));
        }
        for (text, error) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(parse_duration(text), Err(error.to_string()));
        }
    }

    #[test]
    fn numbers_are_read_with_their_errors() {
        assert_eq!(parse_int("-12", 32), Ok(-12));
        assert_eq!(
            parse_int("2147483648", 32),
            Err("strconv.ParseInt: parsing \"2147483648\": value out of range".into())
        );
        assert_eq!(
            parse_int("1.5", 32),
            Err("strconv.ParseInt: parsing \"1.5\": invalid syntax".into())
        );
        assert_eq!(
            parse_uint("-1", 64),
            Err("strconv.ParseUint: parsing \"-1\": invalid syntax".into())
        );
        assert_eq!(
            parse_float("x"),
            Err("strconv.ParseFloat: parsing \"x\": invalid syntax".into())
        );
        assert_eq!(
            parse_bool("maybe"),
            Err("strconv.ParseBool: parsing \"maybe\": invalid syntax".into())
        );
    }

    #[test]
    fn numbers_are_printed_shortest() {
        for (value, printed) in
            [(0.01, "0.01"), (1.0, "1"), (1e21, "1e+21"), (1e-7, "1e-07"), (-0.5, "-0.5")]
        {
            assert_eq!(format_float(value), printed);
        }
    }
}
