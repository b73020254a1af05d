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
