//! Media types: what of them the codec must know.
//!
//! Pure: text to values.

/// What a body is that holds events whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    One,
    Batch,
}

/// The envelope in JSON that a content type says; nothing for others.
pub fn envelope(content_type: &str) -> Option<Envelope> {
    let essence = essence(content_type);
    if essence.eq_ignore_ascii_case(super::encode::STRUCTURED) {
        Some(Envelope::One)
    } else if essence.eq_ignore_ascii_case(super::encode::BATCH) {
        Some(Envelope::Batch)
    } else {
        None
    }
}

/// The media type alone, without parameters and blanks. Compare it without regard to case.
pub fn essence(content_type: &str) -> &str {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim_matches([' ', '\t'])
}

/// Whether it declares JSON: `*/json` or `*/*+json`.
pub fn is_json(content_type: &str) -> bool {
    let Some((_, subtype)) = essence(content_type).split_once('/') else { return false };
    let ends_so = |end: &str| {
        let from = subtype.len().checked_sub(end.len());
        from.and_then(|from| subtype.get(from..)).is_some_and(|it| it.eq_ignore_ascii_case(end))
    };
    subtype.eq_ignore_ascii_case("json") || ends_so("+json")
}

/// Whether a text of such a type is UTF-8, as it must be to be a string in JSON: so is one that names no other charset.
pub fn is_utf8(content_type: &str) -> bool {
    let charset = content_type.split(';').skip(1).find_map(|it| {
        let (name, value) = it.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.is_none_or(|it| it.eq_ignore_ascii_case("utf-8") || it.eq_ignore_ascii_case("us-ascii"))
}
