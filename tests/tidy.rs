//! Keeps the promises of ARCHITECTURE.md and STYLE.md that a machine can check.
//!
//! Each test reads the sources as text and lists every line that breaks its rule, so that one run tells all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The crates in layers: a crate may name those of earlier layers only. `tests` may name all and is named by none.
const LAYERS: &[&[&str]] = &[
    &["api"],
    &["config", "proxy"],
    &["runtime"],
    &["controller", "autoscaler", "activator", "mesh", "eventing", "local"],
    &["cli"],
    &["tests"],
];

/// What a module that calls itself pure does not name.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Clock",
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "rand::",
    "tracing::",
];

/// Types whose values can change behind a shared reference, or come late.
const CHANGEABLE: &[&str] =
    &["Mutex", "RwLock", "Atomic", "Cell", "ArcSwap", "OnceLock", "LazyLock", "Lazy<", "Sender"];

/// Words with no place in a finished tree, in two halves so that this file does not hold them.
const UNFINISHED: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/.libr", "ary"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
    ("dbg", "!("),
];

#[test]
fn crates_name_earlier_layers_only() {
    let mut broken = Vec::new();
    for (layer, name) in crates() {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let mut is_dependency = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                is_dependency = line.contains("dependencies]") && !line.contains("dev-");
                continue;
            }
            let named = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let other = crates().find(|(_, other)| *other == named);
            if is_dependency && other.is_some_and(|(other, _)| other >= layer) {
                broken.push(format!("{name} may not depend on {named}"));
            }
        }
    }
    none(broken);
}

#[test]
fn the_workspace_is_what_the_layers_say() {
    let manifest = read(&root().join("Cargo.toml"));
    let (_, members) = manifest.split_once("members = [").expect("a workspace has members");
    let (members, _) = members.split_once(']').expect("the list of members ends");
    let members: BTreeSet<&str> = members
        .split(',')
        .map(|it| it.trim().trim_matches('"'))
        .filter(|it| !it.is_empty())
        .collect();
    let layered: BTreeSet<&str> = crates().map(|(_, name)| name).collect();
    assert_eq!(members, layered);
}

#[test]
fn the_first_line_of_a_file_says_what_it_is_for() {
    let mut broken = Vec::new();
    for file in sources() {
        let text = read(&file);
        let first = text.lines().next().unwrap_or_default();
        let words = first.strip_prefix("//! ").map_or(0, |it| it.split_whitespace().count());
        if words < 3 {
            broken.push(format!("{}:1: {first}", show(&file)));
        }
    }
    none(broken);
}

#[test]
fn pure_modules_are_pure() {
    let mut broken = Vec::new();
    for file in sources() {
        let text = read(&file);
        if !text.lines().any(|line| line.starts_with("//! Pure:")) {
            continue;
        }
        for (at, line) in code(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{at}: says it is pure, names `{word}`", show(&file)));
            }
        }
    }
    none(broken);
}

#[test]
fn nothing_is_global() {
    let mut broken = Vec::new();
    for file in sources() {
        for (at, line) in code(&read(&file)) {
            let item = line.trim_start();
            let item =
                item.strip_prefix("pub(crate) ").or(item.strip_prefix("pub ")).unwrap_or(item);
            let declared = item.strip_prefix("static ").and_then(|it| it.split('=').next());
            let is_state = declared.is_some_and(|it| {
                it.starts_with("mut ") || CHANGEABLE.iter().any(|word| it.contains(word))
            });
            let makes_state = item.starts_with("thread_local!") || item.starts_with("lazy_static!");
            if is_state || makes_state {
                broken.push(format!("{}:{at}: {}", show(&file), line.trim()));
            }
        }
    }
    none(broken);
}

#[test]
fn every_file_is_compiled() {
    let mut reached = BTreeSet::new();
    for (_, name) in crates() {
        let dir = root().join(name);
        for entry in entries(&dir) {
            reach(&entry, &mut reached);
        }
    }
    let lost = sources().into_iter().filter(|file| !reached.contains(file));
    none(lost.map(|file| format!("{}: no `mod` line reaches it", show(&file))).collect());
}

#[test]
fn modules_are_not_called_mod() {
    let called = sources().into_iter().filter(|file| file.ends_with("mod.rs"));
    none(called.map(|file| show(&file)).collect());
}

#[test]
fn names_stay_where_they_are_defined() {
    let mut broken = Vec::new();
    for file in sources() {
        for (at, line) in code(&read(&file)) {
            let names = line.trim_start().strip_prefix("pub use ");
            let is_ours = |names: &str| {
                let first = names.split("::").next().unwrap_or_default();
                crates().any(|(_, name)| name == first)
            };
            if names.is_some_and(is_ours) {
                broken.push(format!("{}:{at}: {}", show(&file), line.trim()));
            }
        }
    }
    none(broken);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut broken = Vec::new();
    for file in files(&root()) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (at, line) in text.lines().enumerate() {
            for (head, tail) in UNFINISHED {
                if line.contains(&format!("{head}{tail}")) {
                    broken.push(format!("{}:{}: {head}{tail}", show(&file), at + 1));
                }
            }
        }
    }
    none(broken);
}

/// Follows the `mod name;` lines of `file`, adding each file found to `reached`.
fn reach(file: &Path, reached: &mut BTreeSet<PathBuf>) {
    if !file.exists() || !reached.insert(file.to_owned()) {
        return;
    }
    let text = read(file);
    let stem = file.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
    let beside = file.parent().expect("a file is in a folder");
    let is_entry = entries(&package(file)).contains(file) && !beside.join(stem).is_dir();
    let dir = if is_entry { beside.to_owned() } else { beside.join(stem) };
    let mut place = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            place = path.strip_suffix("\"]").map(str::to_owned);
        }
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let line = match line.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ").map_or(line, |(_, rest)| rest),
            None => line,
        };
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            match place.take() {
                Some(path) => reach(&beside.join(path), reached),
                None => {
                    reach(&dir.join(format!("{name}.rs")), reached);
                    // The files of an entry are beside it, also when a folder has its name.
                    reach(&beside.join(format!("{name}.rs")), reached);
                }
            }
        }
    }
}

/// The files that cargo compiles by themselves in a package.
fn entries(package: &Path) -> BTreeSet<PathBuf> {
    let mut entries: BTreeSet<PathBuf> =
        ["src/lib.rs", "src/main.rs", "build.rs"].map(|it| package.join(it)).into();
    for dir in ["examples", "tests", "benches", "src/bin"] {
        let found = fs::read_dir(package.join(dir)).into_iter().flatten().flatten();
        entries.extend(found.map(|it| it.path()).filter(|it| is_rust(it)));
    }
    let manifest = read(&package.join("Cargo.toml"));
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
    entries.extend(paths.filter_map(|it| it.strip_suffix('"')).map(|it| package.join(it)));
    entries
}

fn package(file: &Path) -> PathBuf {
    let is_package = |dir: &&Path| dir.join("Cargo.toml").exists();
    file.ancestors().skip(1).find(is_package).expect("a source is in a package").to_owned()
}

/// The lines of code, numbered from 1, up to the tests at the end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
    // A test module in another file leaves the rest of this one as it is.
    let is_at_end = text.lines().nth(tests.saturating_add(1)).is_some_and(|it| it.ends_with('{'));
    let end = if is_at_end { tests } else { usize::MAX };
    let lines = text.lines().enumerate().take(end).map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn crates() -> impl Iterator<Item = (usize, &'static str)> {
    let layers = LAYERS.iter().enumerate();
    layers.flat_map(|(layer, names)| names.iter().map(move |name| (layer, *name)))
}

/// The Rust files of all crates.
fn sources() -> Vec<PathBuf> {
    let all = crates().flat_map(|(_, name)| files(&root().join(name)));
    all.filter(|file| is_rust(file)).collect()
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|it| it == "rs")
}

/// All files below `dir` that belong to the project.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let is_made = name == "target" || name == ".git";
            match entry.file_type() {
                _ if is_made => {}
                Ok(kind) if kind.is_dir() => dirs.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()))
}

fn show(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

#[track_caller]
fn none(broken: Vec<String>) {
    let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
    for line in broken {
        *by_text.entry(line).or_default() += 1;
    }
    let lines: Vec<_> = by_text.into_keys().collect();
    assert!(lines.is_empty(), "{} places break the rule:\n{}", lines.len(), lines.join("\n"));
}
