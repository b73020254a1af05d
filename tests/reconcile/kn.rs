//! Replays the conversations of `kn`, and prints from our answers what it printed from Knative's.

use std::{collections::BTreeMap, time::Duration};

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{compare, platform::Platform};

/// Longest time without news after which nothing more will come: above the delays of our controllers.
const QUIET: Duration = Duration::from_secs(5);
/// Commands about Eventing: what they are answered is compared, and not what they print. That follows from the broker, which
/// is not here.
const EVENTING: &[&str] = &["broker", "eventtype", "source", "trigger"];

/// What `kn` learns in one session.
struct Session<'a> {
    platform: &'a Platform,
    /// The last answer for each path, without its query.
    seen: BTreeMap<String, Value>,
    bound: BTreeMap<String, String>,
    differences: Vec<String>,
}

/// What one command was answered.
#[derive(Default)]
struct Answers {
    bodies: Vec<Value>,
    warnings: Vec<String>,
    /// The messages of unready objects, and `reason: message` of failed ones, in the order in which they came.
    progress: Vec<String>,
    failures: Vec<String>,
}

/// Runs a session and tells what `kn` would see otherwise.
pub async fn replay(session: &Value) -> Vec<String> {
    let namespace = session["namespace"].as_str().expect("a session has a namespace");
    let platform = Platform::start(namespace, session, &[]).await;
    let mut replay = Session {
        platform: &platform,
        seen: BTreeMap::new(),
        bound: BTreeMap::new(),
        differences: Vec::new(),
    };
    for step in session["steps"].as_array().expect("a session has steps") {
        let before = replay.differences.len();
        let answers = replay.command(step).await;
        replay.compare(step, &answers);
        let command = words(&step["argv"]).join(" ");
        for difference in &mut replay.differences[before..] {
            *difference = format!("{command}: {difference}");
        }
        // The recorder, too, waited after each command until nothing changed.
        crate::reach(&platform, &[], false, &mut BTreeMap::new()).await;
    }
    let differences = replay.differences;
    platform.stop().await;
    differences
}

impl Session<'_> {
    /// Sends a command's requests. What a watch tells is read before the next request, unless that deletes.
    async fn command(&mut self, step: &Value) -> Answers {
        let mut answers = Answers::default();
        let requests: &[Value] = step["requests"].as_array().map_or(&[], Vec::as_slice);
        let mut deletion = None;
        for (place, request) in requests.iter().enumerate() {
            let path = request["path"].as_str().expect("a request has a path");
            if request["watch"] == true {
                let news = self.watch(path).await;
                if requests.get(place + 1).is_some_and(|it| it["method"] == "DELETE") {
                    deletion = Some(news);
                } else {
                    self.wait(news, &mut answers).await;
                }
                continue;
            }
            self.send(request, path, &mut answers).await;
        }
        if let Some(mut news) = deletion {
            while let Some(event) = news.next().await {
                if event["type"] == "DELETED" {
                    return answers;
                }
            }
            self.differences.push("the watch does not tell of the deletion".to_owned());
        }
        answers
    }

    async fn send(&mut self, request: &Value, path: &str, answers: &mut Answers) {
        let place = path.split('?').next().expect("there is a first part").to_owned();
        let mut sent = json!({ "request": request });
        if let Some(type_) = request.get("contentType") {
            sent["request"]["headers"] = json!({ "Content-Type": type_ });
        }
        if let Some(body) = request.get("body") {
            if request["method"] == "PUT" {
                self.compare_state(body, &place);
            }
            sent["request"]["body"] = self.body(body, &place);
        }
        let answer = self.platform.send(&sent).await;
        let status = &request["status"];
        if answer.status != *status {
            let difference =
                format!("{path}: {} instead of {status}: {}", answer.status, answer.body);
            self.differences.push(difference);
        }
        if let Some(refusal) = request.get("responseBody").filter(|it| **it != answer.body) {
            self.differences.push(format!("{path}: {} instead of {refusal}", answer.body));
        }
        let is_object = answer.status == 200 && answer.body["metadata"]["uid"].is_string();
        if request["method"] == "GET" && is_object {
            self.seen.insert(place, answer.body.clone());
        }
        answers.warnings.extend(answer.warnings);
        answers.bodies.push(answer.body);
    }

    /// A recorded update tells what had been read before it: its status, and metadata that `kn` does not change.
    fn compare_state(&mut self, body: &Value, place: &str) {
        let is_serving = place.starts_with("/apis/serving.knative.dev/");
        let Some(seen) = self.seen.get(place).filter(|_| is_serving) else { return };
        let mut one = json!({ "status": body["status"] });
        let mut other = json!({ "status": seen["status"] });
        for key in ["name", "namespace", "generation"] {
            one[key] = body["metadata"][key].clone();
            other[key] = seen["metadata"][key].clone();
        }
        // `create --force` sends an object of its own.
        if body["metadata"]["uid"].is_string() {
            let differences = &mut self.differences;
            compare::differ(&one, &other, place, &mut self.bound, differences);
        }
    }

    /// The body with what ours has where the recording has placeholders.
    fn body(&self, body: &Value, place: &str) -> Value {
        let mut body = filled(body);
        if let Some(seen) = self.seen.get(place).filter(|_| body["metadata"].is_object()) {
            for key in ["uid", "resourceVersion", "creationTimestamp"] {
                if body["metadata"][key].is_string() {
                    body["metadata"][key] = seen["metadata"][key].clone();
                }
            }
        }
        body
    }

    /// Opens a watch from the version of what was read last.
    async fn watch(&self, path: &str) -> News {
        let version =
            self.seen.values().filter_map(|it| it["metadata"]["resourceVersion"].as_str());
        let version = version.filter_map(|it| it.parse::<u64>().ok()).max();
        let version = version.expect("an object was read before").to_string();
        let path = path.replace("<rv>", &version).replace("<n>", "630");
        News { body: self.platform.watch(&path).await, rest: Vec::new() }
    }

    /// Reads until the object is ready, or nothing more comes.
    async fn wait(&self, mut news: News, answers: &mut Answers) {
        let mut next = answers.bodies.last().cloned();
        while let Some(object) = next {
            let ready = ready(&object);
            let text = |key: &str| ready[key].as_str().unwrap_or_default();
            let is_current =
                object["status"]["observedGeneration"] == object["metadata"]["generation"];
            if is_current && ready["status"] == "True" {
                return;
            }
            if is_current && !text("message").is_empty() {
                answers.progress.push(text("message").to_owned());
            }
            if is_current && ready["status"] == "False" {
                answers.failures.push(format!("{}: {}", text("reason"), text("message")));
            }
            next = news.next().await.map(|mut event| event["object"].take());
        }
    }

    fn compare(&mut self, step: &Value, answers: &Answers) {
        let argv = words(&step["argv"]);
        let stdout = step["stdout"].as_str().expect("a step has an output");
        let stderr = step["stderr"].as_str().expect("a step has an output");
        let mut differ = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            self.differences.push(format!("{what} {ours:?} instead of {theirs:?}"));
        };

        let warnings: Vec<&str> =
            stderr.lines().filter_map(|it| it.strip_prefix("Warning: ")).collect();
        if answers.warnings != warnings {
            differ("warns", &answers.warnings, &warnings);
        }
        let progress: Vec<&str> =
            stdout.lines().filter_map(|it| it.strip_prefix("<elapsed> ")).collect();
        for message in answers.progress.iter().filter(|it| !progress.contains(&it.as_str())) {
            differ("tells", message, &progress);
        }
        let error = stderr.lines().find_map(|it| it.strip_prefix("Error: "));
        if !progress.is_empty() {
            match error {
                Some(error) if !answers.failures.iter().any(|it| it == error) => {
                    differ("fails with", &answers.failures, &error);
                }
                None if !answers.bodies.last().is_some_and(is_ready) => {
                    differ("ends with", &answers.bodies.last(), &"a ready object");
                }
                _ => {}
            }
        }
        if error.is_some() || answers.bodies.is_empty() || EVENTING.contains(&argv[1]) {
            return;
        }
        let output = argv.iter().position(|it| *it == "-o").map(|at| argv[at + 1]);
        match output {
            Some("json") => {
                let recorded = serde_json::from_str(stdout).expect("the output is JSON");
                self.compare_list(&recorded, &answers.bodies[0]);
            }
            Some("yaml") => {
                let recorded = serde_saphyr::from_str(stdout).expect("the output is YAML");
                self.compare_list(&recorded, &answers.bodies[0]);
            }
            _ => {
                let printed = printed(&argv, output, answers);
                let (ours, theirs) = (tokens(&printed), tokens(stdout));
                // Of a change its result is printed at last.
                let theirs = theirs.get(theirs.len().saturating_sub(ours.len())..);
                if Some(ours.as_slice()) != theirs {
                    differ("prints", &ours, &theirs);
                }
            }
        }
    }

    /// Compares a list as it was printed whole.
    fn compare_list(&mut self, recorded: &Value, found: &Value) {
        let (mut recorded, mut found) = (recorded.clone(), found.clone());
        found.as_object_mut().expect("a list is an object").remove("metadata");
        recorded.as_object_mut().expect("a list is an object").remove("metadata");
        for list in [&mut recorded, &mut found] {
            for item in list["items"].as_array_mut().into_iter().flatten() {
                let meta = item["metadata"].as_object_mut().expect("objects have metadata");
                meta.remove("resourceVersion");
                meta.remove("managedFields");
                // `kn` decodes objects into types that write an absent time as null, and names their kinds.
                let template = &mut item["spec"]["template"]["metadata"];
                template.as_object_mut().expect("templates have it").remove("creationTimestamp");
                item["apiVersion"] = json!("serving.knative.dev/v1");
                item["kind"] = json!("Service");
            }
        }
        compare::differ(&recorded, &found, "list", &mut self.bound, &mut self.differences);
    }
}

/// Events of a watch.
struct News {
    body: local::api::answer::Body,
    rest: Vec<u8>,
}

impl News {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let frame = tokio::time::timeout(QUIET, self.body.frame()).await.ok()??;
            let frame = frame.expect("a watch in memory does not break");
            self.rest.extend_from_slice(frame.data_ref()?);
        }
    }
}

/// What `kn` prints at last, from what it was answered.
fn printed(argv: &[&str], output: Option<&str>, answers: &Answers) -> String {
    let first = &answers.bodies[0];
    let items: Vec<&Value> = first["items"].as_array().into_iter().flatten().collect();
    match (argv[1], argv[2], output) {
        ("service", "describe", Some("url")) => text(&first["status"]["url"]).to_owned(),
        (kind, "list", Some("name")) => {
            let line = |it: &&Value| format!("{kind}.serving.knative.dev/{}\n", name(it));
            items.iter().map(line).collect()
        }
        (_, "list", Some(_)) => items.iter().map(|it| name(it)).collect::<Vec<_>>().join(" "),
        ("domain", ..) => String::new(),
        (kind, "list", None) if items.is_empty() => format!("No {kind}s found."),
        (kind, "list", None) => {
            let headings = match kind {
                "service" => "NAME URL LATEST AGE CONDITIONS READY REASON",
                "revision" => "NAME SERVICE TRAFFIC TAGS GENERATION AGE CONDITIONS READY REASON",
                _ => "NAME URL READY",
            };
            let mut rows: Vec<String> = items.iter().map(|it| row(kind, it, answers)).collect();
            if kind == "revision" {
                // The newest first.
                rows.reverse();
            }
            if argv.contains(&"--no-headers") {
                return rows.concat();
            }
            format!("{headings}\n{}", rows.concat())
        }
        (kind, "describe", None) => described(kind, first, &answers.bodies[1..]),
        ("service", "create" | "update", None) if !answers.progress.is_empty() => {
            let last = answers.bodies.last().expect("there is an answer");
            format!("{}\n", text(&last["status"]["url"]))
        }
        _ => String::new(),
    }
}

fn row(kind: &str, object: &Value, answers: &Answers) -> String {
    let status = &object["status"];
    let ready = ready(object);
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let good = conditions.iter().filter(|it| it["status"] == "True").count();
    let conditions = format!("{good} OK / {}", conditions.len());
    let reason = match text(&ready["status"]) {
        "True" => String::new(),
        _ => format!("{} : {}", text(&ready["reason"]), text(&ready["message"])),
    };
    let (name, ready) = (name(object), text(&ready["status"]));
    let labels = &object["metadata"]["labels"];
    match kind {
        "service" => {
            let latest = text(&status["latestReadyRevisionName"]);
            format!("{name} {} {latest} {conditions} {ready} {reason}\n", text(&status["url"]))
        }
        "revision" => {
            let service = text(&labels["serving.knative.dev/service"]);
            let generation = text(&labels["serving.knative.dev/configurationGeneration"]);
            let targets = answers.bodies[1..].iter().find(|it| self::name(it) == service);
            let targets = targets.and_then(|it| it["status"]["traffic"].as_array());
            let its: Vec<&Value> =
                targets.into_iter().flatten().filter(|it| it["revisionName"] == name).collect();
            let percent: i64 = its.iter().filter_map(|it| it["percent"].as_i64()).sum();
            let percent = if percent == 0 { String::new() } else { format!("{percent}%") };
            let tags: Vec<&str> = its.iter().filter_map(|it| it["tag"].as_str()).collect();
            format!(
                "{name} {service} {percent} {} {generation} {conditions} {ready} {reason}\n",
                tags.join(",")
            )
        }
        _ => format!("{name} {} {ready}\n", text(&status["url"])),
    }
}

fn described(kind: &str, object: &Value, revisions: &[Value]) -> String {
    let (meta, status) = (&object["metadata"], &object["status"]);
    let mut out = format!("Name: {}\nNamespace: {}\n", name(object), text(&meta["namespace"]));
    if kind == "service" {
        for (title, pairs) in [("Labels", &meta["labels"]), ("Annotations", &meta["annotations"])] {
            let pairs: Vec<String> = pairs
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, _)| !key.starts_with("serving.knative.dev/"))
                .map(|(key, value)| format!("{key}={}", text(value)))
                .collect();
            if !pairs.is_empty() {
                out += &format!("{title}: {}\n", pairs.join(", "));
            }
        }
    }
    out += &format!("Age:\nURL: {}\n", text(&status["url"]));
    if kind == "route" {
        out += &format!("Service: {}\n", text(&meta["labels"]["serving.knative.dev/service"]));
        out += "\nTraffic Targets:\n";
    } else {
        out += "\nRevisions:\n";
    }
    for target in status["traffic"].as_array().into_iter().flatten() {
        let revision = text(&target["revisionName"]);
        let title = match target["latestRevision"].as_bool() {
            Some(true) => format!("@latest ({revision})"),
            _ => revision.to_owned(),
        };
        let tag = target["tag"].as_str().map(|it| format!(" #{it}")).unwrap_or_default();
        out += &format!("{}% {title}{tag}", target["percent"].as_i64().unwrap_or_default());
        match revisions.iter().find(|it| name(it) == revision) {
            Some(revision) => out += &format!(" [{}]\n{}", generation(revision), image(revision)),
            None => out += "\n",
        }
        if kind == "route" && target["url"].is_string() {
            out += &format!("URL: {}\n", text(&target["url"]));
        }
    }
    let created = text(&status["latestCreatedRevisionName"]);
    if kind == "service" && status["latestReadyRevisionName"] != created {
        for revision in revisions.iter().filter(|it| name(it) == created) {
            out += &format!("! {created} (latest created) [{}]\n", generation(revision));
            out += &format!("Error: {}\n{}", text(&ready(revision)["reason"]), image(revision));
        }
    }
    out += "\nConditions:\nOK TYPE AGE REASON\n";
    let conditions: Vec<&Value> = status["conditions"].as_array().into_iter().flatten().collect();
    let (first, others): (Vec<&Value>, Vec<&Value>) =
        conditions.iter().partition(|it| it["type"] == "Ready");
    for condition in first.into_iter().chain(others) {
        let mark = match text(&condition["status"]) {
            "True" => "++",
            "False" => "!!",
            _ => "??",
        };
        out += &format!("{mark} {} {}\n", text(&condition["type"]), text(&condition["reason"]));
    }
    out
}

fn generation(revision: &Value) -> &str {
    text(&revision["metadata"]["labels"]["serving.knative.dev/configurationGeneration"])
}

fn image(revision: &Value) -> String {
    format!("Image: {}\n", text(&revision["spec"]["containers"][0]["image"]))
}

fn is_ready(object: &Value) -> bool {
    ready(object)["status"] == "True"
}

fn ready(object: &Value) -> &Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|it| it["type"] == "Ready").unwrap_or(&Value::Null)
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn words(argv: &Value) -> Vec<&str> {
    argv.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The words of each line that has some, without ages, whose columns' widths follow them.
fn tokens(printed: &str) -> Vec<Vec<&str>> {
    let is_word = |it: &&str| !matches!(*it, "<age>" | "(<age>)" | "AGE");
    let lines = printed.lines().map(|it| it.split_whitespace().filter(is_word).collect());
    lines.filter(|it: &Vec<&str>| !it.is_empty()).collect()
}

/// A recorded value with a time in place of each `<time1>`; equal ones for equal numbers.
fn filled(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("<time").and_then(|it| it.strip_suffix('>'))
        {
            Some(number) => json!(format!("2026-01-01T00:00:{number:0>2}Z")),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(filled).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), filled(value))).collect()
        }
        _ => value.clone(),
    }
}
