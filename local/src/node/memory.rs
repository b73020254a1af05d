//! A folder in memory for the small files of running pods.
//!
//! Each start of a pod makes a handful of them, and its end removes them again. On a disk that costs more the more pods
//! come and go: ext4 looks at every file that went within the last minutes before it makes a new one, and a cold start
//! waited up to 3 ms for that. None of them outlives the machine's boot.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// What the kernel calls a file system in memory. Source: Linux `include/uapi/linux/magic.h`, `TMPFS_MAGIC`.
const TMPFS: u64 = 0x0102_1994;

/// A new folder at `link`: in memory, where the machine has room for it, else there itself. What an earlier call left at
/// `link` goes, if it is empty.
///
/// # Errors
/// When nothing can be made at `link`.
pub fn folder(link: &Path) -> io::Result<PathBuf> {
    remove(link);
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = user.into_iter().chain(["/run", "/dev/shm"].map(PathBuf::from));
    for place in places.filter(|it| is_in_memory(it)) {
        let folder = place.join(format!("weft-{}", Uuid::new_v4()));
        // Where others may not write, or nothing more fits, the next will do.
        if fs::DirBuilder::new().mode(0o700).create(&folder).is_ok() {
            match symlink(&folder, link) {
                Ok(()) => return Ok(folder),
                Err(_) => drop(fs::remove_dir(&folder)),
            }
        }
    }
    fs::create_dir_all(link)?;
    Ok(link.to_owned())
}

/// Removes the folder at `link`, if it is empty. What cannot be removed stays, and its link with it: the next start of
/// the node looks at it again.
pub fn remove(link: &Path) {
    let Ok(folder) = fs::read_link(link) else {
        let _ = fs::remove_dir(link);
        return;
    };
    let removed = fs::remove_dir(folder);
    if removed.is_ok() || removed.is_err_and(|it| it.kind() == io::ErrorKind::NotFound) {
        let _ = fs::remove_file(link);
    }
}

fn is_in_memory(place: &Path) -> bool {
    rustix::fs::statfs(place).is_ok_and(|it| it.f_type as u64 == TMPFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_new_folder_and_an_end_leaves_none() {
        let home = std::env::temp_dir().join(format!("weft-memory-{}", Uuid::new_v4()));
        let link = home.join("running");
        fs::create_dir_all(&link).unwrap();
        let first = folder(&link).unwrap();
        fs::write(first.join("a"), "").unwrap();
        assert!(link.join("a").exists(), "it is found by the link");
        remove(&link);
        assert!(link.join("a").exists(), "what is not empty stays, and is found");
        fs::remove_file(first.join("a")).unwrap();
        let second = folder(&link).unwrap();
        assert_eq!(first.exists(), first == second);
        remove(&link);
        assert!(!second.exists() && !link.exists() && !link.is_symlink());
        // After a boot of the machine it leads nowhere.
        symlink(home.join("nowhere"), &link).unwrap();
        assert!(folder(&link).unwrap().is_dir());
        remove(&link);
        fs::remove_dir(home).unwrap();
    }
}
