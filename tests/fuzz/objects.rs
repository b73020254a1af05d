//! Objects to begin with: random Deployments, and every object of the recorded cases.

use std::fs;

use serde_json::{Map, Value, json};
use tests::{parts, random::Random};

/// The objects that clients sent in the recorded cases.
pub fn recorded() -> Vec<Value> {
    let mut found = Vec::new();
    for file in ["crud", "patch", "ssa", "crd", "listwatch"] {
        let path = parts::root().join(format!("tests/kube-cases/{file}.json"));
        let cases: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let steps = cases.as_array().unwrap().iter().filter_map(|case| case["steps"].as_array());
        found.extend(steps.flatten().map(|step| step["request"]["body"].clone()));
    }
    found.retain(|it| !it.is_null());
    assert!(found.len() > 300, "the recorded cases have bodies: {}", found.len());
    found
}

/// A value with a few of its places changed for those of another.
pub fn mixed(random: &mut Random, value: &Value, other: &Value) -> Value {
    let mut mixed = value.clone();
    for _ in 0..=random.below(3) {
        let new = if random.once_in(4) { random.json(2) } else { place(random, other).clone() };
        *place_mut(random, &mut mixed) = new;
    }
    mixed
}

fn place<'a>(random: &mut Random, value: &'a Value) -> &'a Value {
    let count = match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if count == 0 || random.once_in(5) {
        return value;
    }
    let at = random.below(count);
    match value {
        Value::Object(map) => place(random, map.values().nth(at).unwrap()),
        Value::Array(list) => place(random, &list[at]),
        _ => value,
    }
}

fn place_mut<'a>(random: &mut Random, value: &'a mut Value) -> &'a mut Value {
    let count = match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if count == 0 || random.once_in(5) {
        return value;
    }
    let at = random.below(count);
    match value {
        Value::Object(map) => place_mut(random, map.values_mut().nth(at).unwrap()),
        Value::Array(list) => place_mut(random, &mut list[at]),
        _ => unreachable!("it has members"),
    }
}

/// A Deployment whose lists have no element twice, and nothing of which is empty.
pub fn deployment(random: &mut Random) -> Value {
    let mut object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    maybe(random, &mut object["metadata"], "labels", labels);
    maybe(random, &mut object["metadata"], "annotations", labels);
    maybe(random, &mut object["metadata"], "finalizers", |random| words(random, "example.com/"));
    let mut pod = json!({});
    maybe(random, &mut pod, "containers", |random| list(random, "name", container));
    maybe(random, &mut pod, "initContainers", |random| list(random, "name", container));
    maybe(random, &mut pod, "volumes", |random| {
        list(random, "name", |random| json!({"configMap": {"name": word(random)}}))
    });
    maybe(random, &mut pod, "tolerations", |random| {
        (0..=random.below(2)).map(|_| json!({"key": word(random), "operator": "Exists"})).collect()
    });
    maybe(random, &mut pod, "nodeSelector", labels);
    maybe(random, &mut pod, "restartPolicy", |_| "Always".into());
    let mut spec = json!({});
    if !is_empty(&pod) {
        spec["template"] = json!({"spec": pod});
    }
    maybe(random, &mut spec, "replicas", |random| random.below(3).into());
    maybe(random, &mut spec, "selector", |random| json!({"matchLabels": labels(random)}));
    if !is_empty(&spec) {
        object["spec"] = spec;
    }
    object
}

fn container(random: &mut Random) -> Value {
    let mut it = json!({});
    maybe(random, &mut it, "image", word);
    maybe(random, &mut it, "args", |random| words(random, "-"));
    maybe(random, &mut it, "env", |random| {
        list(random, "name", |random| json!({"value": word(random)}))
    });
    maybe(random, &mut it, "volumeMounts", |random| {
        list(random, "mountPath", |random| json!({"name": word(random)}))
    });
    maybe(random, &mut it, "resources", |random| json!({"limits": {"cpu": word(random)}}));
    it
}

/// A list of objects, each with a key of its own.
fn list(random: &mut Random, key: &str, mut item: impl FnMut(&mut Random) -> Value) -> Value {
    let mut keys = ["p", "q", "r", "s"];
    let turn = random.below(keys.len());
    keys.rotate_left(turn);
    if random.once_in(2) {
        keys.swap(0, 1);
    }
    let count = 1 + random.below(keys.len());
    let items = keys[..count].iter().map(|name| {
        let mut item = item(random);
        item[key] = (*name).into();
        item
    });
    items.collect()
}

fn labels(random: &mut Random) -> Value {
    let keys = ["app", "tier", "x/y"];
    let fields = (0..=random.below(3)).map(|_| ((*random.pick(&keys)).to_owned(), word(random)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn words(random: &mut Random, before: &str) -> Value {
    let mut words = vec!["u", "v", "w"];
    let turn = random.below(3);
    words.rotate_left(turn);
    words.truncate(1 + random.below(3));
    words.into_iter().map(|it| format!("{before}{it}")).collect()
}

fn word(random: &mut Random) -> Value {
    (*random.pick(&["1", "2", "3"])).into()
}

fn maybe(
    random: &mut Random,
    object: &mut Value,
    key: &str,
    value: impl FnOnce(&mut Random) -> Value,
) {
    if !random.once_in(3) {
        object[key] = value(random);
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}
