//! Image names and the executables on this machine that they stand for.
//!
//! Names come from the built-in samples, from the command line, and from a file in the data directory which
//! `weft image add` and `weft image rm` rewrite while the platform runs: it is read again when it changed.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What an image name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The executable: an absolute path.
    pub path: PathBuf,
    /// Arguments that come before the container's own; a container's `command` replaces path and these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment that the container's own overrides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files and folders of the machine that its containers see besides the program's own: absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<PathBuf>,
}

/// Why a name cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("`{0}` is not NAME=PATH")]
    Form(String),
    #[error("`{0}` is not an image name")]
    Name(String),
    #[error("{path}: {cause}")]
    Path { path: PathBuf, cause: io::Error },
    #[error("write {path}: {cause}")]
    Store { path: PathBuf, cause: io::Error },
}

/// The names that the node knows.
pub struct Images {
    file: PathBuf,
    /// Not in the file: the samples and the command line's.
    fixed: BTreeMap<String, Image>,
    read: Mutex<Read>,
}

/// The file's content as last read, and what tells that it changed since.
#[derive(Default)]
struct Read {
    images: BTreeMap<String, Image>,
    version: Option<(i64, i64, u64, u64)>,
}

/// The images of the samples: this binary, with the sample's name as argument.
pub fn samples(binary: &Path) -> BTreeMap<String, Image> {
    ["hello", "slow", "grpc", "websocket", "event-display"]
        .into_iter()
        .map(|name| {
            let image = Image {
                path: binary.to_owned(),
                args: vec!["sample".to_owned(), name.to_owned()],
                env: BTreeMap::new(),
                with: Vec::new(),
            };
            (format!("weft.dev/samples/{name}"), image)
        })
        .collect()
}

/// Reads `NAME=PATH` as given on the command line; the path must be an executable file.
pub fn parse(text: &str) -> Result<(String, Image), AddError> {
    let (name, path) = text.split_once('=').ok_or_else(|| AddError::Form(text.to_owned()))?;
    Ok((checked_name(name)?, executable(Path::new(path))?))
}

impl Images {
    /// The names in `fixed` and those of the file `images.json` in `data_dir`.
    pub fn open(data_dir: &Path, fixed: BTreeMap<String, Image>) -> Self {
        let fixed = fixed.into_iter().map(|(name, image)| (plain(&name), image)).collect();
        Self { file: data_dir.join("images.json"), fixed, read: Mutex::default() }
    }

    /// What `name` stands for. The default registry and tag need not be written; a name with a digest finds
    /// the image whose digest that is, or else the only one of its repository.
    pub fn resolve(&self, name: &str) -> Option<Image> {
        let all = self.all();
        let plain = plain(name);
        let (tagged, digest) = match plain.split_once('@') {
            Some((tagged, digest)) => (tagged.to_owned(), Some(digest)),
            None => (plain.clone(), None),
        };
        let repository = repository(&tagged);
        if let Some(digest) = digest {
            let mut same = all.iter().filter(|(known, _)| self::repository(known) == repository);
            if let Some((_, image)) = same.find(|(_, it)| it.digest().as_deref() == Some(digest)) {
                return Some(image.clone());
            }
        }
        all.get(&tagged)
            .or_else(|| all.get(repository))
            .or_else(|| {
                // A rebuilt executable has another digest than the one that a revision was pinned to.
                let mut same =
                    all.iter().filter(|(known, _)| self::repository(known) == repository);
                digest?;
                same.next().map(|(_, image)| image)
            })
            .cloned()
    }

    /// The digest of what `name` stands for, as in `sha256:…`.
    pub fn digest(&self, name: &str) -> Option<String> {
        self.resolve(name)?.digest()
    }

    /// The whole reference of what `name`, which has no digest, stands for now: with registry and digest.
    pub fn pinned(&self, name: &str) -> Option<String> {
        let digest = self.digest(name)?;
        let plain = plain(name);
        let whole = match registry(&plain) {
            DOCKER_HUB if plain.contains('/') => format!("{DOCKER_HUB}/{plain}"),
            DOCKER_HUB => format!("{DOCKER_HUB}/library/{plain}"),
            _ => plain,
        };
        Some(format!("{whole}@{digest}"))
    }

    /// Every known name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.all().into_keys().collect()
    }

    /// Every known name and what it stands for.
    pub fn all(&self) -> BTreeMap<String, Image> {
        let mut all = self.stored();
        all.extend(self.fixed.iter().map(|(name, image)| (name.clone(), image.clone())));
        all
    }

    /// What to tell someone whose image is not known.
    pub fn unknown(&self, name: &str) -> String {
        format!(
            "image \"{name}\" is not known to this node; it knows {}; add it with: weft image add {}=PATH",
            self.names().join(", "),
            plain(name)
        )
    }

    /// Adds a name to the file, in place of what it stood for; its containers see `with` too.
    pub fn add(&self, name: &str, path: &Path, with: &[PathBuf]) -> Result<(), AddError> {
        let name = checked_name(name)?;
        let mut image = executable(path)?;
        for path in with {
            let absolute = fs::canonicalize(path)
                .map_err(|cause| AddError::Path { path: path.clone(), cause })?;
            image.with.push(absolute);
        }
        self.rewrite(|images| drop(images.insert(name, image)))
    }

    /// Removes a name from the file; false when it was not there.
    pub fn remove(&self, name: &str) -> Result<bool, AddError> {
        let mut found = false;
        self.rewrite(|images| found = images.remove(&plain(name)).is_some())?;
        Ok(found)
    }

    fn stored(&self) -> BTreeMap<String, Image> {
        let mut read = self.read.lock();
        let version = fs::metadata(&self.file)
            .map(|it| (it.mtime(), it.mtime_nsec(), it.ino(), it.len()))
            .ok();
        if version != read.version {
            let text = fs::read_to_string(&self.file).unwrap_or_else(|_| "{}".to_owned());
            match serde_json::from_str(&text) {
                Ok(images) => read.images = images,
                Err(error) => tracing::warn!(
                    file = %self.file.display(), %error, "not a list of images; the last good one stays"
                ),
            }
            read.version = version;
        }
        read.images.clone()
    }

    /// Writes the changed file beside the old one and then in its place, so that it is never half written.
    fn rewrite(&self, change: impl FnOnce(&mut BTreeMap<String, Image>)) -> Result<(), AddError> {
        let mut images = self.stored();
        change(&mut images);
        let text = serde_json::to_string_pretty(&images).expect("paths given as text are text");
        let new = self.file.with_extension(format!("json.{}", std::process::id()));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.file))
            .map_err(|cause| AddError::Store { path: self.file.clone(), cause })
    }
}

impl Image {
    /// What tells this executable from another, or from the same one built anew: path, size and time of
    /// change. None when the file is gone.
    pub fn digest(&self) -> Option<String> {
        let file = fs::metadata(&self.path).ok()?;
        let mut sum = Sha256::new();
        sum.update(self.path.as_os_str().as_encoded_bytes());
        for argument in &self.args {
            sum.update([0]);
            sum.update(argument);
        }
        sum.update([0]);
        for number in [file.mtime(), file.mtime_nsec(), file.len() as i64] {
            sum.update(number.to_le_bytes());
        }
        let hex: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("sha256:{hex}"))
    }
}

/// The name without what is the default: registry, `library/` and `:latest`.
fn plain(name: &str) -> String {
    let mut rest = name.trim();
    for default in ["index.docker.io/", "docker.io/", "registry-1.docker.io/", "library/"] {
        rest = rest.strip_prefix(default).unwrap_or(rest);
    }
    match rest.split_once('@') {
        Some((tagged, digest)) => {
            format!("{}@{digest}", tagged.strip_suffix(":latest").unwrap_or(tagged))
        }
        None => rest.strip_suffix(":latest").unwrap_or(rest).to_owned(),
    }
}

/// The registry of names without one.
const DOCKER_HUB: &str = "index.docker.io";

/// The registry that `name` is in. Source: google/go-containerregistry `pkg/name`.
pub fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

/// The last part of the name, without tag and digest.
pub fn short_name(name: &str) -> &str {
    let tagged = name.split_once('@').map_or(name, |(tagged, _)| tagged);
    let repository = repository(tagged);
    repository.rsplit_once('/').map_or(repository, |(_, last)| last)
}

/// The name without its tag.
fn repository(tagged: &str) -> &str {
    let name_start = tagged.rfind('/').map_or(0, |slash| slash + 1);
    match tagged[name_start..].find(':') {
        Some(colon) => &tagged[..name_start + colon],
        None => tagged,
    }
}

fn checked_name(name: &str) -> Result<String, AddError> {
    let name = plain(name);
    let allowed = |it: char| it.is_ascii_alphanumeric() || "._-/:".contains(it);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(AddError::Name(name));
    }
    Ok(name)
}

fn executable(path: &Path) -> Result<Image, AddError> {
    let error = |cause| AddError::Path { path: path.to_owned(), cause };
    let absolute = fs::canonicalize(path).map_err(error)?;
    let file = fs::metadata(&absolute).map_err(error)?;
    if !file.is_file() || file.permissions().mode() & 0o111 == 0 {
        return Err(error(io::Error::other("not an executable file")));
    }
    Ok(Image { path: absolute, args: Vec::new(), env: BTreeMap::new(), with: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_whatever_defaults_are_written() {
        let here = Folder::new();
        let images = Images::open(&here.0, BTreeMap::new());
        for (name, path) in
            [("app", "/bin/sh"), ("ghcr.io/me/app:v1", "/bin/cat"), ("localhost:5000/x", "/bin/ls")]
        {
            images.add(name, Path::new(path), &[]).unwrap();
        }
        let pinned = images.digest("ghcr.io/me/app:v1").unwrap();
        for (name, whole) in [
            ("app", "index.docker.io/library/app"),
            ("ghcr.io/me/app:v1", "ghcr.io/me/app:v1"),
            ("localhost:5000/x:latest", "localhost:5000/x"),
        ] {
            let found = images.pinned(name).unwrap();
            assert_eq!(found, format!("{whole}@{}", images.digest(name).unwrap()));
            assert_eq!(images.resolve(&found), images.resolve(name));
        }
        assert_eq!(images.pinned("other"), None);
        for (asked, found) in [
            ("app", Some("sh")),
            ("docker.io/library/app:latest", Some("sh")),
            ("index.docker.io/library/app@sha256:0000", Some("sh")),
            ("app:v9", Some("sh")),
            ("ghcr.io/me/app:v1", Some("cat")),
            ("ghcr.io/me/app", None),
            ("ghcr.io/me/app:v2", None),
            (&format!("ghcr.io/me/app@{pinned}"), Some("cat")),
            ("localhost:5000/x:v1", Some("ls")),
            ("other", None),
        ] {
            let path = images.resolve(asked).map(|it| it.path);
            let want = found.map(|name| fs::canonicalize(format!("/bin/{name}")).unwrap());
            assert_eq!(path, want, "{asked}");
        }
    }

    #[test]
    fn another_process_changes_the_names() {
        let here = Folder::new();
        let (running, other) = (
            Images::open(&here.0, samples(Path::new("/bin/sh"))),
            Images::open(&here.0, BTreeMap::new()),
        );
        assert!(running.resolve("app").is_none());
        other.add("app", Path::new("/bin/sh"), &[]).unwrap();
        assert!(running.resolve("app").is_some());
        assert!(other.remove("app").unwrap());
        assert!(running.resolve("app").is_none());
        assert!(running.unknown("app").contains("weft.dev/samples/hello"));
        assert_eq!(running.resolve("weft.dev/samples/hello").unwrap().args, ["sample", "hello"]);
    }

    #[test]
    fn refuses_what_cannot_run() {
        for text in
            ["app", "=/bin/sh", "a b=/bin/sh", "app=/nowhere", "app=/etc", "app=/etc/passwd"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("weft-images-{}", uuid::Uuid::new_v4()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
