//! Runs the real kubectl.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::parts;

/// No command of a test takes longer; those that wait have bounds of their own.
const LONGEST: Duration = Duration::from_secs(120);

/// A version of kubectl.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    /// 1.20, the oldest that is supported.
    Oldest,
    /// The newest that Debian has, at least 1.32.
    Newest,
}

impl Version {
    pub const ALL: [Version; 2] = [Version::Oldest, Version::Newest];

    pub fn path(self) -> PathBuf {
        match self {
            Version::Oldest => parts::part("kubectl-1.20"),
            Version::Newest => parts::part("kubectl-newest"),
        }
    }
}

/// kubectl with the configuration of one platform.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub program: PathBuf,
    pub kubeconfig: PathBuf,
    /// Its HOME and working folder.
    pub home: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    pub line: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "`{}` failed:\n{}{}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// What it complained about, if it failed.
    #[track_caller]
    pub fn err(self) -> String {
        assert_ne!(self.code, Some(0), "`{}` succeeded:\n{}", self.line, self.stdout);
        self.stderr
    }

    /// What it printed, or all that it said if it failed.
    pub fn result(self) -> Result<String, String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            _ => Err(format!("`{}`: {}{}", self.line, self.stdout, self.stderr)),
        }
    }
}

impl Kubectl {
    /// The command for these arguments, with nothing of the caller's environment but PATH.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, value)| value);
        command.env_clear().env("PATH", path.unwrap_or_default());
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).env("TZ", "UTC");
        command.current_dir(&self.home).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command whose words are separated by spaces.
    pub async fn run(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words, "").await
    }

    /// Runs a command line with `input` as its standard input.
    pub async fn run_with(&self, line: &str, input: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words, input).await
    }

    /// Runs a command given word by word.
    pub async fn run_words(&self, words: &[&str], input: &str) -> Output {
        let line = format!("kubectl {}", words.join(" "));
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let feed = async move {
            // A command that does not read its input may have closed it.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let run = async { tokio::join!(child.wait_with_output(), feed).0 };
        let output = timeout(LONGEST, run).await;
        let output =
            output.unwrap_or_else(|_| panic!("`{line}` does not end")).expect("kubectl ran");
        Output {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
