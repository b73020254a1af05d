//! Replays what real Knative controllers made of recorded requests, against ours on the embedded API.
//!
//! The clock is paused: waiting costs nothing, and what is settled is certain.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use serde_json::Value;

#[path = "reconcile/compare.rs"]
mod compare;
#[path = "reconcile/kn.rs"]
mod kn;
#[path = "reconcile/live.rs"]
mod live;
#[path = "reconcile/platform.rs"]
mod platform;
#[path = "reconcile/pull_secrets.rs"]
mod pull_secrets;
#[path = "reconcile/stand_ins.rs"]
mod stand_ins;

use platform::Platform;

/// Time without a change after which everything is settled, as in the recording.
const QUIET: Duration = Duration::from_secs(2);
/// Longest time until a recorded state is reached: above the progress deadlines of the cases and the time
/// that traffic takes to move, and below that after which a service without requests goes to zero.
const LONGEST: Duration = Duration::from_secs(30);

#[test]
fn objects_settle_as_recorded() {
    let folder = tests::parts::root().join("tests/knative-cases");
    let text = fs::read(folder.join("serving-reconcile.json")).expect("the cases are there");
    let cases: Vec<Value> = serde_json::from_slice(&text).expect("the cases are JSON");
    let known = known_differences(&folder.join("reconcile-differences.txt"));

    let (mut passed, mut wrong) = (0, Vec::new());
    let mut names = BTreeSet::new();
    for case in &cases {
        let name = case["name"].as_str().expect("a case has a name");
        names.insert(name);
        let differences = replay(case, &cases);
        match (differences.is_empty(), known.get(name)) {
            (true, None) => passed += 1,
            (false, Some(_)) => {}
            (true, Some(_)) => wrong.push(format!("{name}: listed as different, but passes")),
            (false, None) => wrong.push(format!("{name}:\n  {}", differences.join("\n  "))),
        }
    }
    for name in known.keys().filter(|name| !names.contains(name.as_str())) {
        wrong.push(format!("{name}: listed as different, but there is no such case"));
    }
    println!("{passed} of {} cases settle as recorded", cases.len());
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn kn_is_answered_as_recorded() {
    let file = tests::parts::root().join("tests/knative-cases/kn-sessions.json");
    let text = fs::read(file).expect("the sessions are there");
    let sessions: Vec<Value> = serde_json::from_slice(&text).expect("the sessions are JSON");
    let mut wrong = Vec::new();
    for session in &sessions {
        let differences = paused().block_on(kn::replay(session));
        wrong.extend(differences.iter().map(|it| format!("{}: {it}", session["name"])));
    }
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A runtime in which waiting costs nothing.
fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be made")
}

/// Runs a case on a platform of its own and tells what came out otherwise.
fn replay(case: &Value, cases: &[Value]) -> Vec<String> {
    paused().block_on(async {
        let namespace = platform::namespace(case);
        let platform = Platform::start(&namespace, case, cases).await;
        let mut bound = BTreeMap::new();
        let mut differences = Vec::new();
        for step in case["steps"].as_array().expect("a case has steps") {
            if step.get("request").is_some() {
                let answer = platform.send(step).await;
                if step["setup"] == true {
                    // The configuration is taken in before it counts.
                    tokio::time::sleep(QUIET).await;
                }
                let status = &step["response"]["status"];
                if answer.status != *status {
                    differences.push(format!(
                        "{} {}: {} instead of {status}: {}",
                        step["request"]["method"],
                        step["request"]["path"],
                        answer.status,
                        answer.body
                    ));
                }
            } else if let Some(objects) = step["settled"].as_array() {
                let objects: Vec<Value> = without_varying(objects, case);
                differences.extend(reach(&platform, &objects, false, &mut bound).await);
            }
        }
        let then = case["then"].as_array().expect("a case has an end");
        let then = without_varying(then, case);
        differences.extend(reach(&platform, &then, true, &mut bound).await);
        platform.stop().await;
        differences
    })
}

/// Reduces the objects that were not the same in two recordings to their names.
fn without_varying(objects: &[Value], case: &Value) -> Vec<Value> {
    let varying: Vec<&str> =
        case["varies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let reduced = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let title = format!("{}/{name}", object["kind"].as_str().unwrap_or_default());
        if !varying.contains(&title.as_str()) {
            return object.clone();
        }
        serde_json::json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": { "name": name },
            "varies": true,
        })
    };
    objects.iter().map(reduced).collect()
}

/// Waits until the objects are as recorded, or tells what is otherwise in the end.
async fn reach(
    platform: &Platform,
    recorded: &[Value],
    with_events: bool,
    bound: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let start = tokio::time::Instant::now();
    loop {
        let before = platform.version().await;
        tokio::time::sleep(QUIET).await;
        let is_late = start.elapsed() > LONGEST;
        if platform.version().await != before && !is_late {
            continue;
        }
        let found = platform.objects().await;
        let events = if with_events { Some(platform.events().await) } else { None };
        let mut trial = bound.clone();
        let differences = compare::compare(recorded, &found, events.as_deref(), &mut trial);
        if differences.is_empty() {
            *bound = trial;
            return differences;
        }
        if is_late {
            return differences;
        }
    }
}

/// Cases that do not pass, with the reason.
fn known_differences(file: &std::path::Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).expect("the list of known differences is there");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, reason) = line.split_once(": ").expect("a line is `case: reason`");
            assert!(!reason.is_empty(), "{name} is listed without a reason");
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}
