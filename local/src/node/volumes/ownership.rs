//! The group of a volume's files, for pods that ask for one (`fsGroup`).
//!
//! Source: kubernetes `pkg/volume/volume_linux.go`.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

/// What the group may do with a volume's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// New files in a folder get the folder's group.
const SET_GROUP: u32 = 0o2000;

impl Access {
    /// What is added to the permissions of a file, or a folder.
    fn mode(self, is_folder: bool) -> u32 {
        let mode = match self {
            Access::Read => 0o440,
            Access::Write => 0o660,
        };
        if is_folder { mode | SET_GROUP | 0o110 } else { mode }
    }
}

/// Gives a folder and all that is in it to a group.
pub fn give(path: &Path, group: u32, access: Access) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mode = meta.mode() | access.mode(meta.is_dir());
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group, access)?;
        }
    }
    Ok(())
}

/// Whether the folder itself is given to a group already, for those who do not want to look at all that is in it.
pub fn is_given(folder: &Metadata, group: u32, access: Access) -> bool {
    let mode = access.mode(true);
    folder.gid() == group && folder.mode() & mode == mode
}
