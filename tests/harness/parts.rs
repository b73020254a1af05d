//! Real programs that tests run: brought into `target/parts` when they are missing, and the platform itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

/// The path of a part by its name in `parts.py`, which brings it if it is missing.
///
/// # Panics
/// When the part cannot be had; the message says why and what to do.
pub fn part(name: &str) -> PathBuf {
    let script = root().join("tests/parts.py");
    let output = Command::new("python3")
        .arg(&script)
        .arg(name)
        .stderr(Stdio::inherit())
        .output()
        .expect("python3 is needed to bring the parts that tests run; install it");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().find_map(|line| line.strip_prefix(&format!("{name}\t")));
    match path {
        Some(path) if output.status.success() => PathBuf::from(path),
        _ => panic!("the part {name} cannot be had; see the lines that begin with `parts:`"),
    }
}

/// The path of the Python that runs scripts of the tests, itself and not a stand-in that looks for it.
pub fn python() -> PathBuf {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = output.expect("python3 is needed to run the scripts of tests; install it");
    assert!(output.status.success(), "python3 does not run");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The path of the `weft` binary: the one that WEFT_BINARY names, or one that is built as the tests are.
pub fn weft() -> PathBuf {
    if let Some(named) = std::env::var_os("WEFT_BINARY") {
        return named.into();
    }
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root()).args(["build", "--quiet", "--package", "cli", "--bin", "weft"]);
    build.args(["--message-format", "json"]);
    // This file is in <target>/<profile>/deps.
    let here = std::env::current_exe().expect("a test has a path");
    let profile = here.ancestors().nth(2).expect("tests are in a folder of their profile");
    if let Some(target) = profile.parent() {
        build.arg("--target-dir").arg(target);
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let output =
        build.stderr(Stdio::inherit()).output().expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "weft does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let of_weft = |line: &&str| line.contains("\"executable\":\"");
    let line = messages.lines().rfind(of_weft).expect("cargo names the binary");
    let message: serde_json::Value = serde_json::from_str(line).expect("cargo speaks JSON");
    let built = PathBuf::from(message["executable"].as_str().expect("the binary has a path"));
    assert!(fs::metadata(&built).is_ok(), "{} is there", built.display());
    built
}
