//! `weft up --apply`: applies manifests as kubectl's server-side apply would.

use std::path::Path;

use anyhow::{Context, bail};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde::Deserialize;

/// Who owns the fields that these manifests set.
const MANAGER: &str = "weft";

/// Applies every document of `file`, in its order, and prints a line for each, for people or as JSON.
///
/// # Errors
/// With the first document that cannot be applied; those before it stay applied.
pub async fn apply(client: &Client, file: &Path, json: bool) -> anyhow::Result<()> {
    for object in read(file)? {
        let types = object.types.clone().unwrap_or_default();
        let what = format!("{} {:?} of {}", types.kind, object.name_any(), file.display());
        let kind = GroupVersionKind::try_from(&types).with_context(|| format!("apply {what}"))?;
        let (resource, capabilities) = discovery::pinned_kind(client, &kind)
            .await
            .with_context(|| format!("apply {what}: find the kind {}", types.kind))?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
                Api::namespaced_with(client.clone(), &namespace, &resource)
            }
        };
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
            .await
            .with_context(|| format!("apply {what}"))?;
        let applied = format!("{}/{}", resource.plural, object.name_any());
        match json {
            true => println!("{}", serde_json::json!({"message": "applied", "object": applied})),
            false => println!("applied {applied}"),
        }
    }
    Ok(())
}

/// The objects of a file with one or more YAML documents.
fn read(file: &Path) -> anyhow::Result<Vec<DynamicObject>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple_with_options(&text, options)
            .with_context(|| format!("read {} as YAML", file.display()))?;
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let object = DynamicObject::deserialize(document)
            .with_context(|| format!("read {} as Kubernetes objects", file.display()))?;
        if object.types.is_none() || object.metadata.name.is_none() {
            bail!(
                "read {}: each document needs apiVersion, kind and metadata.name",
                file.display()
            );
        }
        objects.push(object);
    }
    Ok(objects)
}
