//! Pure: names of logs as names of streams and as subjects, which may hold neither dots nor blanks, and back.

/// The name of the stream of a log.
pub fn stream(prefix: &str, log: &str) -> String {
    format!("{prefix}-{}", token(log))
}

/// The subject of a log's records.
pub fn subject(prefix: &str, log: &str) -> String {
    format!("{prefix}.{}", token(log))
}

/// The log whose stream has that name, if it is one's own.
pub fn log(prefix: &str, stream: &str) -> Option<String> {
    let token = stream.strip_prefix(prefix)?.strip_prefix('-')?;
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'_' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

fn token(log: &str) -> String {
    let mut token = String::with_capacity(log.len() + 8);
    for byte in log.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("_{byte:02x}"));
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(stream("weft", name), expected);
        assert_eq!(log("weft", expected).as_deref(), Some(name));
    }

    #[test]
    fn names_come_back() {
        check("broker-ns-name-1f.events", "weft-broker-ns-name-1f_2eevents");
        check("a_b c*>/\\", "weft-a_5fb_20c_2a_3e_2f_5c");
        check("Ä", "weft-_c3_84");
        assert_eq!(subject("w", "a.events"), "w.a_2eevents");
        for stranger in
            ["weft", "other-a", "weft2-a", "weft-a_", "weft-a_2", "weft-a_zz", "weft-_ff"]
        {
            assert_eq!(log("weft", stranger), None, "{stranger}");
        }
    }
}
