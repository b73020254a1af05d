//! The files of a volume, replaced all at once: who reads them sees the old ones or the new ones, never some of each.
//!
//! Source: kubernetes `pkg/volume/util/atomic_writer.go`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::ownership::{self, Access};

/// The link to the folder that holds the files of now.
const NOW: &str = "..data";

/// A file of a volume.
pub struct File {
    /// Below the volume's folder.
    pub path: String,
    pub bytes: Vec<u8>,
    pub mode: i32,
    /// Whose it is; root's where nobody is named.
    pub owner: Option<u32>,
}

/// Makes `files` what is in `folder`, readable for `group` if one is given; nothing is touched when they are there
/// already.
pub fn replace(folder: &Path, files: &[File], group: Option<u32>) -> io::Result<()> {
    let version = version(files);
    let before = fs::read_link(folder.join(NOW)).ok();
    if before.as_deref() == Some(Path::new(&version)) {
        return Ok(());
    }
    let place = folder.join(&version);
    fs::create_dir_all(&place)?;
    let mut names = BTreeSet::new();
    for file in files {
        let path = inside(&place, &file.path)
            .ok_or_else(|| io::Error::other(format!("bad path \"{}\"", file.path)))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.bytes)?;
        let mode = u32::try_from(file.mode).unwrap_or(0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if file.owner.is_some() {
            lchown(&path, file.owner, None)?;
        }
        names.extend(
            Path::new(&file.path).components().next().map(|it| OsString::from(it.as_os_str())),
        );
    }
    if let Some(group) = group {
        if before.is_none() {
            ownership::give(folder, group, Access::Read)?;
        }
        ownership::give(&place, group, Access::Read)?;
    }
    let new = folder.join("..data_tmp");
    symlink(&version, &new)?;
    fs::rename(&new, folder.join(NOW))?;
    for name in &names {
        match symlink(Path::new(NOW).join(name), folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b"..") && !names.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    match before {
        Some(before) => fs::remove_dir_all(folder.join(before)),
        None => Ok(()),
    }
}

/// `folder` with `path` below it; none if that leads out of it.
pub fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let stays = path.components().all(|it| matches!(it, Component::Normal(_) | Component::CurDir));
    stays.then(|| if path.as_os_str().is_empty() { folder.to_owned() } else { folder.join(path) })
}

/// A name that other files do not have.
fn version(files: &[File]) -> String {
    let mut sum = Sha256::new();
    for file in files {
        sum.update(format!("{}\0{:o}\0{}\0", file.path, file.mode, file.bytes.len()));
        sum.update(&file.bytes);
    }
    let sum: String = sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("..{sum}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_their_volume() {
        for (path, found) in [
            ("", Some("/v")),
            ("a/b", Some("/v/a/b")),
            ("../x", None),
            ("/etc", None),
            ("a/../../x", None),
        ] {
            assert_eq!(inside(Path::new("/v"), path), found.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn files_are_there_as_they_are_now_and_no_others() {
        let folder = std::env::temp_dir().join(format!("weft-volume-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        for (wanted, seen) in [
            (&[("a", "1"), ("deep/b", "2")][..], "a=1 deep/b=2"),
            (&[("a", "1"), ("deep/b", "2")], "a=1 deep/b=2"),
            (&[("a", "3"), ("c", "")], "a=3 c="),
            (&[], ""),
            (&[("a", "1"), ("deep/b", "2")], "a=1 deep/b=2"),
        ] {
            let file = |(path, text): &(&str, &str)| File {
                path: (*path).to_owned(),
                bytes: text.as_bytes().to_vec(),
                mode: 0o600,
                owner: None,
            };
            // Everybody may give what they have to their own group.
            let group = rustix::process::getegid().as_raw();
            replace(&folder, &wanted.iter().map(file).collect::<Vec<_>>(), Some(group)).unwrap();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(&folder) & 0o2050, 0o2050);
            for path in wanted.iter().map(|(path, _)| folder.join(path)) {
                assert_eq!(mode(&path), 0o640);
                assert_eq!(mode(path.parent().unwrap()) & 0o2050, 0o2050);
            }
            let found = ["a", "c", "deep/b"].into_iter().filter_map(|path| {
                let text = fs::read_to_string(folder.join(path)).ok()?;
                Some(format!("{path}={text}"))
            });
            assert_eq!(found.collect::<Vec<_>>().join(" "), seen);
            let hidden = fs::read_dir(&folder).unwrap().flatten().map(|it| it.file_name());
            let hidden = hidden.filter(|it| it.as_encoded_bytes().starts_with(b".."));
            assert_eq!(hidden.count(), 2, "the link and what it leads to");
        }
        let bad = File { path: "../out".to_owned(), bytes: Vec::new(), mode: 0o644, owner: None };
        assert!(replace(&folder, &[bad], None).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
