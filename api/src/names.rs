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

fn hex_sum(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What Kubernetes says of a name that is no DNS-1035 label.
pub const NOT_A_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
     start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
     'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// What Kubernetes says of a name that is no DNS-1123 subdomain.
pub const NOT_A_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
     regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Whether `name` is a DNS-1123 subdomain: labels of small letters, digits and inner dashes, between dots.
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
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
}
