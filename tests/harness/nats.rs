//! A NATS server of a test's own, with JetStream on disk.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{eventually::eventually, parts};

/// How long a server may take to start on a loaded machine.
const START: Duration = Duration::from_secs(20);

/// A server. It is killed when this is dropped, and what it has kept goes.
pub struct Nats {
    program: PathBuf,
    folder: TempDir,
    /// Lines of its configuration, in the block `jetstream`.
    settings: String,
    port: u16,
    child: Child,
}

impl Nats {
    /// Starts the server of that name in `parts.py`, with these settings of JetStream besides the place of its files.
    pub async fn start(part: &str, settings: &str) -> Nats {
        let program = parts::part(part);
        let folder = tempfile::tempdir().expect("there is room for the server's files");
        let child = run(&program, &folder, settings, "-1");
        let mut nats = Nats { program, folder, settings: settings.to_owned(), port: 0, child };
        let url = eventually(START, "the server tells its port", || async { nats.told() }).await;
        nats.port =
            url.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a URL has a port");
        nats
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it: nothing that it has not given to the system is kept.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server runs");
        let _ = fs::remove_file(self.ports()); // It may have been killed before it wrote it.
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) {
        self.child = run(&self.program, &self.folder, &self.settings, &self.port.to_string());
        eventually(START, "the server starts again", || async { self.told() }).await;
    }

    fn ports(&self) -> PathBuf {
        let found = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let mut files = found.map(|it| it.path());
        files.find(|it| it.extension().is_some_and(|it| it == "ports")).unwrap_or_default()
    }

    /// The URL that it listens at, from the file that it writes once it does.
    fn told(&self) -> Result<String, String> {
        let text = fs::read(self.ports()).map_err(|it| it.to_string())?;
        let told: serde_json::Value = serde_json::from_slice(&text).map_err(|it| it.to_string())?;
        told["nats"][0].as_str().map(str::to_owned).ok_or_else(|| told.to_string())
    }
}

fn run(program: &PathBuf, folder: &TempDir, settings: &str, port: &str) -> Child {
    let path = folder.path().display();
    let config = format!("jetstream {{\n store_dir: \"{path}/store\"\n {settings}\n}}\n");
    let file = folder.path().join("server.conf");
    fs::write(&file, config).expect("the folder is there");
    let log = fs::File::create(folder.path().join("log")).expect("the folder is there");
    let mut command = Command::new(program);
    command.arg("--config").arg(file).args(["--addr", "127.0.0.1", "--port", port]);
    command.arg("--ports_file_dir").arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().expect("the server starts")
}
