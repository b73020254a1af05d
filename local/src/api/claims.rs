//! What is asked of claims besides their schema: the class of those that name none, and who may grow.
//!
//! Source: kubernetes `plugin/pkg/admission/storage/storageclass/setdefault`,
//! `plugin/pkg/admission/storage/persistentvolume/resize`.

use std::sync::Arc;

use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::Server;
use super::status::{Refusal, Status};
use crate::kinds::Kind;
use crate::schema::quantity;
use crate::storage::plan;

const CLAIMS: &str = "persistentvolumeclaims";

/// Fills in the class of a new claim that says nothing of it, where there is a default.
pub fn before_create(server: &Server, kind: &Kind, claim: &mut Value) {
    let is_open = claim["spec"].is_object() && claim["spec"]["storageClassName"].is_null();
    if !is_claim(kind) || !is_open {
        return;
    }
    if let Some(class) = plan::default_class(&classes(server)) {
        claim["spec"]["storageClassName"] = class.metadata.name.clone().into();
    }
}

/// Refuses a claim that asks for more where its class does not allow that.
pub fn before_update(
    server: &Server,
    kind: &Kind,
    new: &Value,
    old: &Value,
) -> Result<(), Refusal> {
    if !is_claim(kind) {
        return Ok(());
    }
    let wanted = |claim: &Value| {
        let amount = &claim["spec"]["resources"]["requests"][plan::SIZE];
        amount.as_str().and_then(|it| quantity::parse(it).ok())
    };
    if wanted(new) <= wanted(old) {
        return Ok(());
    }
    let name = new["spec"]["storageClassName"].as_str();
    let is_bound = old["status"]["phase"] == "Bound";
    let allows = |it: &Arc<StorageClass>| {
        it.metadata.name.as_deref() == name && it.allow_volume_expansion == Some(true)
    };
    let why = if !is_bound {
        "Only bound persistent volume claims can be expanded"
    } else if !classes(server).iter().any(allows) {
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
         resize"
    } else {
        return Ok(());
    };
    let claim = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(Status::forbidden("", CLAIMS, claim, why))
}

fn is_claim(kind: &Kind) -> bool {
    kind.group.is_empty() && &*kind.plural == CLAIMS
}

fn classes(server: &Server) -> Vec<Arc<StorageClass>> {
    let page = server.store.list("storage.k8s.io/storageclasses", "", None);
    let objects = page.into_iter().flat_map(|it| it.objects);
    objects.filter_map(|it| serde_json::from_value(it.value()).ok().map(Arc::new)).collect()
}
