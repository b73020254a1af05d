//! How children are named after their parents.

use md5::{Digest, Md5};

/// Longest name Kubernetes allows for most kinds, in bytes.
const LONGEST: usize = 63;
/// Length of an MD5 sum in hexadecimal digits.
const SUM: usize = 32;

/// Name of the child of `parent` that `suffix` tells apart; never longer than 63 bytes.
///
/// Source: knative.dev/pkg `kmeta.ChildName`. Both are ASCII, as Kubernetes names are.
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST {
        return format!("{parent}{suffix}");
    }
    // The suffix alone fills the name, or leaves no room for a sum in front of it.
    if suffix.len() > LONGEST - SUM {
        let sum = hex_sum(&format!("{parent}{suffix}"));
        let head_len = LONGEST - SUM;
        let head: String = parent.chars().take(head_len).collect();
        let head = if head.len() < head_len {
            // A short parent is padded from the suffix.
            let rest: String = suffix.chars().take(head_len - head.len()).collect();
            head + &rest
        } else {
            head
        };
        return format!("{head}{sum}").replace('.', "-");
    }
    let head = &parent[..LONGEST - SUM - suffix.len()];
    format!("{head}{}{suffix}", hex_sum(parent))
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
