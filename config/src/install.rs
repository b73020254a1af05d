//! The ConfigMaps as they are installed, and the check of those that people edit.
//!
//! Pure: data in, values out. Source: knative.dev/pkg `configmap/example.go`, `webhook/configmaps`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::{Config, Error};

/// Key of the text that documents a ConfigMap; it configures nothing.
pub const EXAMPLE: &str = "_example";

/// Annotation with the checksum of that text.
pub const CHECKSUM: &str = "knative.dev/example-checksum";

/// The manifests, in YAML: the name of each ConfigMap and its text.
pub const MANIFESTS: [(&str, &str); 11] = [
    (crate::autoscaler::NAME, include_str!("../autoscaler.yaml")),
    (crate::certmanager::NAME, include_str!("../certmanager.yaml")),
    (crate::defaults::NAME, include_str!("../defaults.yaml")),
    (crate::deployment::NAME, include_str!("../deployment.yaml")),
    (crate::domain::NAME, include_str!("../domain.yaml")),
    (crate::features::NAME, include_str!("../features.yaml")),
    (crate::gc::NAME, include_str!("../gc.yaml")),
    (crate::leader_election::NAME, include_str!("../leader-election.yaml")),
    (crate::logging::NAME, include_str!("../logging.yaml")),
    (crate::network::NAME, include_str!("../network.yaml")),
    (crate::observability::NAME, include_str!("../observability.yaml")),
];

/// The manifests as objects.
pub fn config_maps() -> Vec<ConfigMap> {
    MANIFESTS
        .iter()
        .map(|(_, text)| {
            serde_saphyr::from_str(text).expect("the manifests are part of this crate and tested")
        })
        .collect()
}

/// Checks a ConfigMap that is created or changed: its example must be the one that was installed, and
/// its data must be readable. Names that are not ours are always right.
pub fn check(
    name: &str,
    annotations: &BTreeMap<String, String>,
    data: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if !MANIFESTS.iter().any(|(ours, _)| *ours == name) {
        return Ok(());
    }
    check_example(annotations, data)?;
    Config::default().read(name, data)
}

/// Checks that the example of a ConfigMap is the one that was installed.
pub(crate) fn check_example(
    annotations: &BTreeMap<String, String>,
    data: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if let (Some(example), Some(sum)) = (data.get(EXAMPLE), annotations.get(CHECKSUM))
        && *sum != checksum(example)
    {
        return Err(Error::new(
            "the update modifies a key in \"_example\" which is probably not what you want. Instead, copy \
             the respective setting to the top-level of the ConfigMap, directly below \"data\"",
        ));
    }
    Ok(())
}

/// Checksum of an example: CRC-32 of its text, without the space around it, each run of line ends
/// counted as the two letters `\n`.
pub fn checksum(example: &str) -> String {
    let mut text = String::with_capacity(example.len());
    let mut letters = example.trim().chars().peekable();
    let mut in_break = false;
    while let Some(letter) = letters.next() {
        let line_end = letter == '\n' || (letter == '\r' && letters.peek() == Some(&'\n'));
        if line_end {
            if letter == '\r' {
                letters.next();
            }
            if !in_break {
                text.push_str("\\n");
            }
        } else {
            text.push(letter);
        }
        in_break = line_end;
    }
    format!("{:08x}", crc32(text.as_bytes()))
}

/// CRC-32 as in Ethernet and zip, bit by bit: examples are short and checked when people edit them.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (0u32.wrapping_sub(sum & 1)));
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_crc32() {
        assert_eq!(format!("{:08x}", crc32(b"123456789")), "cbf43926");
        assert_eq!(checksum(" a\r\n\n b\n"), format!("{:08x}", crc32(b"a\\n b")));
    }

    #[test]
    fn examples_carry_their_checksum() {
        for map in config_maps() {
            let name = map.metadata.name.expect("manifests have names");
            let data = map.data.expect("manifests have data");
            let annotations = map.metadata.annotations.expect("manifests have a checksum");
            assert_eq!(
                annotations[CHECKSUM],
                checksum(&data[EXAMPLE]),
                "write this checksum into the manifest of {name}"
            );
            check(&name, &annotations, &data).expect("what is installed is right");
        }
    }

    #[test]
    fn examples_show_the_defaults() {
        let mut read = Config::default();
        let mut names = Vec::new();
        for map in config_maps() {
            let name = map.metadata.name.expect("manifests have names");
            let mut data = map.data.expect("manifests have data");
            let example = data.remove(EXAMPLE).expect("manifests have an example");
            // What is set in the manifest is set in the documented default too.
            let shown: Option<BTreeMap<String, String>> = serde_saphyr::from_str(&example)
                .unwrap_or_else(|why| panic!("example of {name}: {why}"));
            data.extend(shown.unwrap_or_default());
            read.read(&name, &data).unwrap_or_else(|why| panic!("example of {name}: {why}"));
            names.push(name);
        }
        assert_eq!(names, MANIFESTS.map(|(name, _)| name));
        assert_eq!(read, Config::default());
    }

    #[test]
    fn every_key_of_an_example_means_something() {
        // A value that no parser accepts must be noticed, or the key is not read at all.
        for map in config_maps() {
            let name = map.metadata.name.expect("manifests have names");
            let data = map.data.expect("manifests have data");
            let example: Option<BTreeMap<String, String>> =
                serde_saphyr::from_str(&data[EXAMPLE]).expect("examples are YAML");
            for (key, value) in example.unwrap_or_default() {
                let noticed = ["{{", "\u{1}", "enabled", "true", "1h", "7", "allowed", "debug"]
                    .into_iter()
                    .filter(|other| *other != value)
                    .any(|other| {
                        let mut changed = data.clone();
                        changed.insert(key.clone(), other.to_string());
                        let mut read = Config::default();
                        let mut unchanged = Config::default();
                        unchanged.read(&name, &data).expect("what is installed is right");
                        read.read(&name, &changed).is_err() || read != unchanged
                    });
                assert!(noticed, "{name} does not read {key}");
            }
        }
    }
}
