//! Places where a platform cannot start or cannot write: one sentence that says what to do, and nothing half-written.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tests::{
    eventually::eventually,
    platform::{ORDINARY, Platform, Settings},
};

/// The longest that a start may take to fail.
const PATIENCE: Duration = Duration::from_secs(60);
const FREE: [&str; 2] = ["--api-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"];

/// What a start says that fails.
async fn complaint(mut command: Command, what: &str) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what}: it starts")).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{what}: it ends well");
    assert!(!error.contains("panicked"), "{what}: {error}");
    assert_eq!(error.lines().count(), 1, "{what} takes one sentence: {error}");
    assert!(error.starts_with("weft: "), "{what}: {error}");
    error
}

/// The store's files: snapshots and logs.
fn store_files(data_dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data_dir.join("store")).unwrap().flatten().map(|it| it.path());
    let is_store = |it: &PathBuf| {
        let number = it.file_stem().and_then(|it| it.to_str()).map(str::parse::<u64>);
        number.is_some_and(|it| it.is_ok())
            && it.extension().is_some_and(|it| it == "log" || it == "snapshot")
    };
    files.filter(is_store).collect()
}

/// Copies a data directory with its store.
fn copy(from: &Path, to: &Path) {
    for (from, to) in [(from.to_owned(), to.to_owned()), (from.join("store"), to.join("store"))] {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten().filter(|it| it.path().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Gives a folder and what is in it to the user that platforms of ordinary users run as.
fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give_away(&entry.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_what_to_do() {
    // Root may write where it is not allowed to.
    let settings = Settings { ordinary_user: true, ..Settings::default() };
    let platform = Platform::start_with(settings).await;
    platform.kubectl().run("create configmap mine --from-literal=a=b").await.ok();
    let folder = |name: &str| platform.home().join(name);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let api = format!("--api-addr={address}");
    let http = format!("--http-addr={address}");
    fs::write(folder("file"), "").unwrap();
    fs::create_dir(folder("other")).unwrap();
    give_away(&folder("other"));
    fs::create_dir(folder("sealed")).unwrap();
    give_away(&folder("sealed"));
    fs::set_permissions(folder("sealed"), fs::Permissions::from_mode(0o555)).unwrap();

    // A copy with one bit changed in the middle of what was written.
    let damaged = folder("damaged");
    copy(&platform.data_dir(), &damaged);
    let [store] = &store_files(&damaged)[..] else { panic!("a young store is one file") };
    let mut bytes = fs::read(store).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(store, &bytes).unwrap();
    let odd = folder("odd-certificate");
    copy(&platform.data_dir(), &odd);
    fs::write(odd.join("tls.crt"), "no certificate").unwrap();
    give_away(&damaged);
    give_away(&odd);

    let sealed = folder("sealed");
    let cases = [
        ("the data directory of another", platform.data_dir(), FREE, "in use by another run"),
        ("a port in use", folder("other"), [&api, FREE[1]], "--api-addr"),
        ("a gateway's port in use", folder("other"), [FREE[0], &http], "--http-addr"),
        ("a file for a directory", folder("file"), FREE, "--data-dir"),
        ("a directory below a file", folder("file/below"), FREE, "--data-dir"),
        ("a sealed directory", sealed.clone(), FREE, "--data-dir"),
        ("a directory in a sealed one", sealed.join("new"), FREE, "--data-dir"),
        ("a damaged store", damaged.clone(), FREE, "restore it from a backup"),
        ("a damaged certificate", odd.clone(), FREE, "remove tls.crt and tls.key"),
    ];
    for (what, dir, arguments, wanted) in cases {
        let command = platform.weft_in(&dir, &["up", arguments[0], arguments[1]]);
        let error = complaint(command, what).await;
        assert!(error.contains(wanted), "{what}: {error}");
        let named = match what {
            "a damaged store" => store.display().to_string(),
            it if it.contains("port") => address.to_string(),
            "a damaged certificate" => String::new(),
            _ => dir.display().to_string(),
        };
        assert!(error.contains(&named), "{what} names its place: {error}");
    }
    assert_eq!(fs::read(store).unwrap(), bytes, "a damaged file is left for its owner to mend");
    // The one that was there before did not suffer.
    platform.kubectl().run("get configmap mine").await.ok();
}

/// How a platform is given too little space.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Space {
    /// A file system of its own for the data directory.
    Mounted,
    /// A limit on the length of files: what can be had without the right to mount.
    Limited,
}

impl Space {
    /// Those that this machine allows.
    fn ways() -> Vec<Space> {
        let mut try_it = Command::new("unshare");
        try_it.args(Space::unshare()).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        match try_it.stderr(Stdio::null()).status() {
            Ok(status) if status.success() => vec![Space::Mounted, Space::Limited],
            _ => {
                println!("no mounts are allowed here: only files are limited, not their disk");
                vec![Space::Limited]
            }
        }
    }

    fn unshare() -> &'static [&'static str] {
        match rustix::process::geteuid().is_root() {
            true => &["--mount"],
            false => &["--mount", "--user", "--map-root-user"],
        }
    }

    /// What `weft up` is wrapped in; the working folder holds the data directory.
    fn wrapper(self, kilobytes: u64) -> Vec<String> {
        let (before, script) = match self {
            Space::Mounted => {
                let mount = format!("mount -t tmpfs -o size={kilobytes}k none data");
                let before = ["unshare"].iter().chain(Space::unshare()).copied().collect();
                (before, format!("mkdir -p data && {mount} && exec \"$@\""))
            }
            // Blocks of 512 bytes. A write that goes too far is to fail, not to end the process.
            Space::Limited => {
                (Vec::new(), format!("trap '' XFSZ; ulimit -S -f {}; exec \"$@\"", kilobytes * 2))
            }
        };
        before
            .into_iter()
            .map(str::to_owned)
            .chain(["sh", "-c", &script, "sh"].map(str::to_owned))
            .collect()
    }

    /// Takes all space away.
    fn fill(self, platform: &Platform) {
        match self {
            Space::Mounted => {
                let mut file = fs::File::create(platform.seen_data_dir().join("filler")).unwrap();
                let piece = vec![1; 1 << 12];
                while std::io::Write::write_all(&mut file, &piece).is_ok() {}
            }
            Space::Limited => {
                let files = store_files(&platform.data_dir());
                let longest = files.iter().map(|it| fs::metadata(it).unwrap().len()).max();
                limit(platform, longest);
            }
        }
    }

    /// Gives it back.
    fn free(self, platform: &Platform) {
        match self {
            Space::Mounted => fs::remove_file(platform.seen_data_dir().join("filler")).unwrap(),
            Space::Limited => limit(platform, None),
        }
    }
}

/// Sets how long a file of the platform may grow.
fn limit(platform: &Platform, bytes: Option<u64>) {
    // The next record is begun, and its end does not fit.
    let current = bytes.map(|it| it + 50);
    let pid = Pid::from_raw(platform.running().pid as i32);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    for space in Space::ways() {
        let wrapper = space.wrapper(64 << 10);
        let mut platform = Platform::start_with(Settings { wrapper, ..Settings::default() }).await;
        let kubectl = platform.kubectl();
        kubectl.run("create configmap before --from-literal=a=b").await.ok();
        space.fill(&platform);
        for turn in 0..5 {
            // Longer than what may be left of the last page of a file.
            let text = "x".repeat(5000 << turn);
            let line = format!("create configmap refused --from-literal=a={text}");
            let error = kubectl.run(&line).await.err();
            assert!(error.contains("check the disk's space"), "{space:?}: {error}");
            assert!(!error.contains("panicked"), "{space:?}: {error}");
        }
        // What is there can be read, and is not changed by what was refused.
        let error = kubectl.run("get configmap refused").await.err();
        assert!(error.contains("NotFound"), "{space:?}: {error}");
        kubectl.run("get configmap before").await.ok();
        let patch = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(5000));
        kubectl.run(&format!("patch configmap before -p {patch}")).await.err();
        let kept = kubectl.run("get configmap before -o jsonpath={.data.a}").await.ok();
        assert_eq!(kept, "b", "{space:?}");

        space.free(&platform);
        kubectl.run("create configmap after --from-literal=a=b").await.ok();
        platform.apply_sample("hello.yaml").await;
        platform.ready("hello").await;
        let host = platform.host("hello").await;
        platform.get(&host, "/").await.unwrap().ok().unwrap();

        // What is on disk is what was answered.
        if space == Space::Mounted {
            copy(&platform.seen_data_dir(), &platform.data_dir());
        }
        platform.stop().await;
        platform.unwrap();
        platform.up().await;
        let kubectl = platform.kubectl();
        let names =
            kubectl.run("get configmap before after refused --ignore-not-found -o name").await;
        assert_eq!(names.ok(), "configmap/before\nconfigmap/after\n", "{space:?}");
        eventually(PATIENCE, "the service answers", || async {
            platform.get(&host, "/").await?.ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_space_says_so() {
    for space in Space::ways() {
        // Enough for what is small, too little for the objects of an empty cluster.
        let wrapper = space.wrapper(64);
        let platform = Platform::prepare(Settings { wrapper, ..Settings::default() });
        let platform = platform.with_turn().await;
        let error = complaint(platform.weft(&["up", FREE[0], FREE[1]]), "a full disk").await;
        assert!(error.contains("check the disk's space"), "{space:?}: {error}");
        assert_eq!(platform.processes(), [""; 0], "{space:?}: left behind");
    }
}
