//! The authorities that this machine believes, and those that its owner adds.
//!
//! Source: Go's `crypto/x509/root_linux.go`, `root_unix.go`: `SSL_CERT_DIR` names folders that are read besides the
//! machine's file, and `SSL_CERT_FILE` a file in its place.

use std::{fs, path::Path};

use config::env;

/// Where machines keep them; the first that is there counts.
const FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The cluster's own, for registries in it.
const CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Their certificates, as texts in PEM.
pub fn read() -> Vec<Vec<u8>> {
    let own = env::text("SSL_CERT_FILE");
    let bundle = match &own {
        Some(file) => fs::read(file).ok(),
        None => FILES.iter().find_map(|it| fs::read(it).ok()),
    };
    let folders = env::text("SSL_CERT_DIR").unwrap_or_default();
    let folders = folders.split(':').filter(|it| !it.is_empty());
    let files = folders.flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    // A Secret's volume has its files behind links.
    let files = files.map(|it| it.path()).filter(|it| Path::is_file(it));
    let added = files.filter_map(|it| fs::read(it).ok());
    bundle.into_iter().chain(added).chain(fs::read(CLUSTER).ok()).collect()
}
