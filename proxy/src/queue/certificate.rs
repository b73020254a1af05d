//! The queue's certificate: read from the files that its pod mounts, and again when they change.
//!
//! Source: knative/serving `pkg/queue/certificate`.

use std::{fs, io, mem::MaybeUninit, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::tls::{Certificate, Shown};

/// What the log says when a certificate is read, at first and whenever it has changed; tools wait for it.
pub const RELOADED: &str = "Certificate and/or key have changed on disk and were reloaded.";
/// How often files are looked at where the kernel does not tell of changes. Source: upstream's period.
const PERIOD: Duration = Duration::from_secs(60);
/// Room for what the kernel tells at once: a handful of changes of short names.
const NEWS: usize = 4096;

/// Whether a pod has a certificate for its queue.
pub fn is_there(folder: &Path) -> bool {
    ["tls.crt", "tls.key"].iter().all(|it| folder.join(it).exists())
}

/// Shows what is in `folder`, if it is another certificate than the one that is shown; says whether it was. What cannot
/// be used leaves the old one.
pub fn read(folder: &Path, shown: &Shown) -> io::Result<bool> {
    let file = |name: &str| {
        let path = folder.join(name);
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
        };
        fs::read(&path).map_err(told)
    };
    let certificate = Certificate::read(&file("tls.crt")?, &file("tls.key")?);
    let told = |error| io::Error::other(format!("use what is in {}: {error}", folder.display()));
    Ok(shown.set(Some(certificate.map_err(told)?)))
}

/// Shows what is in `folder` as it changes, for ever; `told` is called whenever it was read.
pub async fn follow(folder: &Path, shown: &Shown, told: impl Fn()) {
    let watched = watch(folder).inspect_err(|error| {
        tracing::warn!(%error, "the certificate is looked at every {} s", PERIOD.as_secs());
    });
    let mut watched = watched.ok();
    loop {
        // Between the last look and the watch there may have been a change.
        match read(folder, shown) {
            Ok(true) => told(),
            Ok(false) => {}
            Err(error) => tracing::warn!("{error}: the certificate of before is shown"),
        }
        let news = match &mut watched {
            Some(watched) => changed(watched).await,
            None => {
                tokio::time::sleep(PERIOD).await;
                Ok(())
            }
        };
        if let Err(error) = news {
            tracing::warn!(%error, "follow the certificate");
            watched = None;
        }
    }
}

/// Files are replaced, or a link to the folder that has them is, as a kubelet does.
fn watch(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let kinds = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE;
    inotify::add_watch(&changes, folder, kinds)?;
    #[expect(
        deprecated,
        reason = "unsound for those who do not own their descriptor alone; the other is unsafe"
    )]
    AsyncFd::new(changes)
}

/// Waits for a change, and takes all that there are.
async fn changed(watched: &mut AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = watched.readable().await?;
    let mut room = [MaybeUninit::uninit(); NEWS];
    let mut changes = inotify::Reader::new(ready.get_inner(), &mut room);
    loop {
        match changes.next() {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits are bounded: what takes longer than this will never come.
    const WAIT: Duration = Duration::from_secs(10);

    fn write(folder: &Path, turn: u32, is_whole: bool) {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let key = if is_whole { key } else { "no key".to_owned() };
        // As a kubelet does: a new folder, to which a link is moved.
        let new = folder.join(turn.to_string());
        fs::create_dir(&new).unwrap();
        fs::write(new.join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(new.join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&new, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    }

    async fn until(is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, waiting).await.expect("it comes to be so");
    }

    #[tokio::test]
    async fn files_are_followed_and_a_broken_one_leaves_the_old() {
        let folder = std::env::temp_dir().join(format!("weft-certificate-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        assert!(!is_there(&folder));
        write(&folder, 1, true);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        assert!(is_there(&folder));
        let shown = Shown::default();
        let (followed, its) = (folder.clone(), shown.clone());
        let following = tokio::spawn(async move { follow(&followed, &its, || {}).await });
        until(|| shown.get().is_some()).await;
        let first = shown.clone().get();
        assert!(!shown.set(first.clone()), "it is the same");

        write(&folder, 2, true);
        let copy = Shown::default();
        copy.set(first);
        until(|| copy.set(shown.get())).await;
        write(&folder, 3, false);
        assert!(read(&folder, &shown).is_err());
        assert!(!copy.set(shown.get()), "the second is shown");
        following.abort();
        fs::remove_dir_all(&folder).unwrap();
    }
}
