//! Eventing's ConfigMaps as they are installed, and the check of those that people edit.
//!
//! Pure: data in, values out. Source: knative/eventing `cmd/webhook/main.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    Eventing, broker_channel, brokers, channels, dispatcher, features, mapping, observability,
    ping, sugar,
};
use crate::{Error, install, leader_election, logging};

/// The manifests, in YAML: the name of each ConfigMap and its text.
pub const MANIFESTS: [(&str, &str); 12] = [
    (broker_channel::NAME, include_str!("../../eventing/br-default-channel.yaml")),
    (brokers::NAME, include_str!("../../eventing/br-defaults.yaml")),
    (features::NAME, include_str!("../../eventing/features.yaml")),
    (dispatcher::NAME, include_str!("../../eventing/imc-event-dispatcher.yaml")),
    (mapping::NAME, include_str!("../../eventing/kreference-mapping.yaml")),
    (leader_election::NAME, include_str!("../../eventing/leader-election.yaml")),
    (logging::NAME, include_str!("../../eventing/logging.yaml")),
    (observability::NAME, include_str!("../../eventing/observability.yaml")),
    (ping::NAME, include_str!("../../eventing/ping-defaults.yaml")),
    (sugar::NAME, include_str!("../../eventing/sugar.yaml")),
    ("config-tracing", include_str!("../../eventing/tracing.yaml")),
    (channels::NAME, include_str!("../../eventing/default-ch-webhook.yaml")),
];

/// The ones that upstream checks; others are taken as they are, and when they cannot be read, the old ones stay in force.
const CHECKED: [&str; 4] = [leader_election::NAME, logging::NAME, observability::NAME, sugar::NAME];

/// The manifests as objects.
pub fn config_maps() -> Vec<ConfigMap> {
    MANIFESTS
        .iter()
        .map(|(_, text)| {
            serde_saphyr::from_str(text).expect("the manifests are part of this crate and tested")
        })
        .collect()
}

/// As [`install::check`], for the ConfigMaps in Eventing's namespace.
pub fn check(
    name: &str,
    annotations: &BTreeMap<String, String>,
    data: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if !CHECKED.contains(&name) {
        return Ok(());
    }
    install::check_example(annotations, data)?;
    Eventing::default().read(name, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_right_and_means_the_defaults() {
        let mut read = Eventing::default();
        let mut names = Vec::new();
        for map in config_maps() {
            let name = map.metadata.name.expect("manifests have names");
            let mut data = map.data.expect("manifests have data");
            let annotations = map.metadata.annotations.unwrap_or_default();
            assert_eq!(
                annotations.get(install::CHECKSUM).cloned(),
                data.get(install::EXAMPLE).map(|example| install::checksum(example)),
                "write this checksum into the manifest of {name}"
            );
            check(&name, &annotations, &data).expect("what is installed is right");
            // What an example shows are the defaults, too.
            if let Some(example) = data.remove(install::EXAMPLE) {
                let shown: Option<BTreeMap<String, String>> = serde_saphyr::from_str(&example)
                    .unwrap_or_else(|why| panic!("example of {name}: {why}"));
                data.extend(shown.unwrap_or_default());
            }
            read.read(&name, &data).unwrap_or_else(|why| panic!("{name}: {why}"));
            names.push(name);
        }
        assert_eq!(names, MANIFESTS.map(|(name, _)| name));
        // Levels of loggers are said in the manifest; what is said is what holds without it.
        read.logging = Default::default();
        assert_eq!(read, Eventing::default());
    }
}
