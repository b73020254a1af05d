//! Replays recorded cases with `kube-cases/replay.py` and compares the failures with the list of known ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::parts;

/// What to replay, and against what.
pub struct Replay<'a> {
    /// `https://127.0.0.1:PORT`.
    pub server: &'a str,
    pub token: &'a str,
    /// Names of files in `tests/kube-cases`.
    pub files: &'a [&'a str],
    pub kubectl: Option<PathBuf>,
    /// Also the cases that need controllers.
    pub with_controllers: bool,
    /// For the name of the file with the failures.
    pub name: &'a str,
}

/// How a replay went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cases and those that passed, by area.
    pub areas: BTreeMap<String, (usize, usize)>,
    /// What was wrong, by `area/case`.
    pub failures: BTreeMap<String, String>,
}

impl Outcome {
    /// The share of the cases of some areas that passed, from 0 to 1.
    pub fn share(&self, areas: &[&str]) -> f64 {
        let of = self.areas.iter().filter(|(name, _)| areas.contains(&name.as_str()));
        let (all, passed) = of.fold((0, 0), |sum, (_, it)| (sum.0 + it.0, sum.1 + it.1));
        passed as f64 / all.max(1) as f64
    }
}

/// Runs the replayer to its end.
pub fn run(replay: &Replay) -> Outcome {
    let folder = parts::root().join("tests/kube-cases");
    let results = parts::root().join("target/replay");
    fs::create_dir_all(&results).expect("target can be written");
    let failures = results.join(format!("{}.json", replay.name));
    let mut command = Command::new("python3");
    command.current_dir(&folder).env("PYTHONDONTWRITEBYTECODE", "1").arg("replay.py");
    command.args(["--server", replay.server, "--token", replay.token, "--mode", "subset"]);
    command.arg("--failures").arg(&failures);
    if let Some(kubectl) = &replay.kubectl {
        command.arg("--kubectl").arg(kubectl);
    }
    if replay.with_controllers {
        command.arg("--with-controllers");
    }
    let output = command.args(replay.files).output().expect("python3 is needed to replay cases");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let areas = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [area, passed, "/", all] = words[..] else { return None };
        (area != "all")
            .then(|| Some((area.to_owned(), (all.parse().ok()?, passed.parse().ok()?))))?
    });
    let areas: BTreeMap<_, _> = areas.collect();
    assert!(!areas.is_empty(), "the replayer told no result");
    let list = fs::read(&failures).expect("the replayer writes its failures");
    let list: Vec<Value> = serde_json::from_slice(&list).expect("the failures are JSON");
    let of_case = |it: &Value| {
        let name = it["case"].as_str().unwrap_or_default().to_owned();
        (name, it["failures"].to_string())
    };
    Outcome { areas, failures: list.iter().map(of_case).collect() }
}

/// The listed cases that may fail, with the reason. A line is `area/case: reason`; `#` begins a comment.
pub fn known(list: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(list).expect("the list of known differences is there");
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (case, reason) = line.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
        (case.to_owned(), reason.to_owned())
    };
    lines.map(entry).collect()
}

/// Panics when a case failed that is not listed, or a listed one of the replayed cases passed.
pub fn compare(outcome: &Outcome, known: &BTreeMap<String, String>, replayed: &BTreeSet<String>) {
    let mut wrong = Vec::new();
    for (case, failure) in &outcome.failures {
        if !known.contains_key(case) {
            let short: String = failure.chars().take(600).collect();
            wrong.push(format!("{case} failed: {short}"));
        }
    }
    for case in known.keys() {
        if replayed.contains(case) && !outcome.failures.contains_key(case) {
            wrong.push(format!("{case} passes; take it off the list of known differences"));
        }
    }
    assert!(wrong.is_empty(), "{} cases are not as listed:\n{}", wrong.len(), wrong.join("\n"));
}

/// The names (`area/case`) of the cases in files of `tests/kube-cases` that `wanted` picks.
pub fn cases(files: &[&str], wanted: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let path = parts::root().join("tests/kube-cases").join(file);
        let text =
            fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        let cases: Vec<Value> = serde_json::from_slice(&text).expect("the cases are JSON");
        for case in cases.iter().filter(|case| wanted(case)) {
            let text = |key: &str| case[key].as_str().unwrap_or_default();
            names.insert(format!("{}/{}", text("area"), text("name")));
        }
    }
    names
}
