//! A part of a volume in place of the whole: `subPath` and `subPathExpr`.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/container/helpers.go`, `pkg/volume/util/subpath`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::{Component, Path, PathBuf},
};

use k8s_openapi::api::core::v1::VolumeMount;

use crate::node::environment;

/// The path below the volume's folder that a mount asks for; empty for all of it.
pub fn wanted(mount: &VolumeMount, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let path = match mount.sub_path_expr.as_deref().filter(|it| !it.is_empty()) {
        Some(text) => expanded(text, variables)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if path.split('/').any(|it| it == "..") {
        return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
    }
    Ok(path)
}

/// The text with its variables; each of them must be there and say something.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let missing: BTreeSet<&str> = environment::names(text)
        .into_iter()
        .filter(|name| variables.get(*name).is_none_or(String::is_empty))
        .collect();
    if missing.is_empty() {
        return Ok(environment::expand(text, variables));
    }
    let missing: Vec<&str> = missing.into_iter().collect();
    Err(format!("missing value for {}", missing.join(", ")))
}

/// What is at `path` in the volume; a folder like the volume's own, where nothing is. Links that containers have made
/// may not lead out of the volume.
pub fn find(volume: &Path, path: &str) -> io::Result<PathBuf> {
    let volume = fs::canonicalize(volume)?;
    let own = fs::metadata(&volume)?;
    let mut found = volume.clone();
    for part in Path::new(path).components() {
        let Component::Normal(name) = part else { continue };
        let next = found.join(name);
        match fs::canonicalize(&next) {
            Ok(real) if real.starts_with(&volume) => found = real,
            Ok(_) => return Err(io::Error::other("it leads out of the volume")),
            // A link that leads nowhere is in the way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&next)?;
                lchown(&next, None, Some(own.gid()))?;
                fs::set_permissions(&next, Permissions::from_mode(own.mode() & 0o7777))?;
                found = next;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_told_as_kubelet_tells_them() {
        let check = |path: &str, expr: &str, expected: Result<&str, &str>| {
            let text = |it: &str| (!it.is_empty()).then(|| it.to_owned());
            let mount = VolumeMount {
                sub_path: text(path),
                sub_path_expr: text(expr),
                ..VolumeMount::default()
            };
            let variables = [("POD", "p-1"), ("EMPTY", ""), ("ROOT", "/etc"), ("UP", "..")];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let found = wanted(&mount, &BTreeMap::from(variables));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{path}{expr}");
        };
        check("", "", Ok(""));
        check("a/b", "", Ok("a/b"));
        check("$(POD)", "", Ok("$(POD)"));
        check("", "logs/$(POD)", Ok("logs/p-1"));
        check("", "logs/$$(POD)", Ok("logs/$(POD)"));
        check("", "$(NONE)/$(EMPTY)/$(POD)", Err("missing value for EMPTY, NONE"));
        check("", "$(ROOT)", Err("error SubPath `/etc` must not be an absolute path"));
        check("", "a/$(UP)/b", Err("unable to provision SubPath `a/../b`: must not contain '..'"));
    }

    #[test]
    fn paths_are_made_like_their_volume_and_stay_in_it() {
        let place = std::env::temp_dir().join(format!("weft-sub-path-{}", uuid::Uuid::new_v4()));
        let volume = place.join("volume");
        fs::create_dir_all(volume.join("real")).unwrap();
        fs::create_dir(place.join("outside")).unwrap();
        fs::write(volume.join("file"), "").unwrap();
        fs::set_permissions(&volume, Permissions::from_mode(0o777)).unwrap();
        symlink("../outside", volume.join("out")).unwrap();
        symlink("real", volume.join("in")).unwrap();
        symlink("/nowhere", volume.join("broken")).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let found = find(&volume, path).ok();
            let expected = expected.map(|it| fs::canonicalize(&volume).unwrap().join(it));
            assert_eq!(found, expected, "{path}");
        };
        check("", Some(""));
        check("file", Some("file"));
        check("file/below", None);
        check("in/new", Some("real/new"));
        check("out", None);
        check("out/x", None);
        check("broken", None);
        check("one/two", Some("one/two"));
        let mode = fs::metadata(volume.join("one/two")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o777);
        fs::remove_dir_all(place).unwrap();
    }
}
