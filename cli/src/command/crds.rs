//! `weft crds`: the custom resource definitions as YAML.

/// Prints every definition, each as a document of its own.
pub fn run() -> anyhow::Result<()> {
    for (_, yaml) in api::crd::manifests() {
        print!("---\n{yaml}");
    }
    Ok(())
}
