//! How children are named after their parents.

use md5::{Digest, Md5};

/// Longest name Kubernetes allows for most kinds, in bytes.
const LONGEST: usize = 63;
/// Length of an MD5 sum in hexadecimal digits.
const SUM: usize = 32;

/// Longest beginning of a parent's name that leaves room for a sum.
const HEAD: usize = LONGEST - SUM;

/// Name of the child of `parent` that `suffix` tells apart; never longer than 63 bytes.
///
/// Source: knative.dev/pkg `kmeta.ChildName`. Both are ASCII, as Kubernetes names are.
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST {
        return format!("{parent}{suffix}");
    }
    if suffix.len() < HEAD {
        let head = &parent[..HEAD - suffix.len()];
        return format!("{head}{}{suffix}", hex_sum(parent));
    }
    // The suffix leaves no room for a sum before it: the sum is of both, and what room a short parent
    // leaves is filled from the suffix.
    let head = &parent[..parent.len().min(HEAD)];
    let sum = hex_sum(&format!("{parent}{suffix}"));
    let tail = &suffix[..LONGEST - head.len() - SUM];
    let name = format!("{head}{sum}{tail}");
    name.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_string()
}

/// The MD5 sum of a text, in hexadecimal digits.
pub fn hex_sum(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What Kubernetes says of a name that is no DNS-1035 label.
const NOT_A_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
     start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
     'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

const NOT_A_1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
     '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const NOT_A_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
     regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
     with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
     validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const NOT_AN_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', \
     followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', \
     regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// What is wrong with `name` as a DNS-1035 label: a letter first, then letters, digits and inner dashes.
pub fn dns_label_errors(name: &str) -> Vec<String> {
    let is_right = is_1123_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    errors(name, 63, is_right, NOT_A_LABEL)
}

/// [`dns_label_errors`] of the beginning of a generated name, which may end with a dash.
pub fn dns_label_prefix_errors(prefix: &str) -> Vec<String> {
    match prefix.strip_suffix('-') {
        Some(name) if name.len() > 1 => dns_label_errors(&format!("{}a", &name[..name.len() - 1])),
        Some(name) if !name.is_empty() => dns_label_errors("a"),
        _ => dns_label_errors(prefix),
    }
}

/// What is wrong with `name` as a DNS-1123 label: letters, digits and inner dashes.
pub fn dns_1123_label_errors(name: &str) -> Vec<String> {
    errors(name, 63, is_1123_label(name), NOT_A_1123_LABEL)
}

/// What is wrong with `name` as a DNS-1123 subdomain: such labels between dots.
pub fn dns_subdomain_errors(name: &str) -> Vec<String> {
    errors(name, 253, name.split('.').all(is_1123_label), NOT_A_SUBDOMAIN)
}

/// What is wrong with `name` as a qualified name: a name, and perhaps a subdomain and a slash before it.
pub fn qualified_name_errors(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_string());
            } else {
                let wrong = dns_subdomain_errors(prefix);
                found.extend(wrong.into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_string());
    } else if name.len() > 63 {
        found.push("name part must be no more than 63 characters".to_string());
    }
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if !(name.bytes().all(inner) && ends(bytes.first()) && ends(bytes.last())) {
        found.push(format!("name part {QUALIFIED}"));
    }
    found
}

/// What is wrong with `name` as an identifier of the language C, which kinds must be.
pub fn identifier_errors(name: &str) -> Vec<String> {
    let is_right = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_right { Vec::new() } else { vec![NOT_AN_IDENTIFIER.to_string()] }
}

fn errors(name: &str, most: usize, is_right: bool, why: &str) -> Vec<String> {
    let too_long = (name.len() > most).then(|| format!("must be no more than {most} characters"));
    too_long.into_iter().chain((!is_right).then(|| why.to_string())).collect()
}

fn is_1123_label(label: &str) -> bool {
    let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !label.is_empty()
        && label.bytes().all(|b| small(b) || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_have_upstreams_names() {
        let a63 = "a".repeat(63);
        let f31 = "f".repeat(31);
        for (parent, suffix, name) in [
            ("dogs", "", "dogs".to_string()),
            ("dogs", "-00001", "dogs-00001".to_string()),
            // The parent is cut to make room for its sum.
            (&a63, "-deployment", format!("{}{}-deployment", &a63[..20], hex_sum(&a63))),
            (&"f".repeat(52), "-deployment", format!("{}-deployment", "f".repeat(52))),
            // A suffix of 31 leaves no room: the sum is of both.
            (
                &f31,
                &"g".repeat(33),
                format!("{f31}{}", hex_sum(&format!("{f31}{}", "g".repeat(33)))),
            ),
            // A short parent is filled up from the suffix, and ends in a letter or digit.
            (
                "x",
                &format!("-{}", "y".repeat(70)),
                format!("x{}-{}", hex_sum(&format!("x-{}", "y".repeat(70))), "y".repeat(29)),
            ),
        ] {
            let found = child_name(parent, suffix);
            assert_eq!(found, name, "{parent} {suffix}");
            assert!(found.len() <= LONGEST);
        }
        let long = format!("{}-", "z".repeat(32));
        assert!(!child_name("x", &long.repeat(2)).ends_with('-'));
    }

    #[test]
    fn names_are_checked_as_kubernetes_does() {
        let none: [&str; 0] = [];
        for (found, wanted) in [
            (dns_label_errors("hello-1"), &none[..]),
            (dns_label_errors("1hello"), &[NOT_A_LABEL]),
            (dns_label_errors(&"a".repeat(64)), &["must be no more than 63 characters"]),
            (dns_label_prefix_errors("gen-"), &none),
            (dns_label_prefix_errors("Gen-"), &[NOT_A_LABEL]),
            (dns_subdomain_errors("a.b-c.1"), &none),
            (dns_subdomain_errors("a..b"), &[NOT_A_SUBDOMAIN]),
            (dns_1123_label_errors("1a"), &none),
            (qualified_name_errors("apps/v1"), &none),
            (qualified_name_errors("/v1"), &["prefix part must be non-empty"]),
            (identifier_errors("Deployment"), &none),
            (identifier_errors("1x"), &[NOT_AN_IDENTIFIER]),
        ] {
            assert_eq!(found, wanted);
        }
        assert_eq!(qualified_name_errors("Not ok").len(), 1);
        assert_eq!(qualified_name_errors("a/b/c").len(), 1);
    }
}
