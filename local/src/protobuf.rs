//! Kubernetes' protobuf form of built-in objects, by a table of field numbers.
//!
//! Pure: bytes and values.
//! Source: the `generated.proto` files of k8s.io/api, k8s.io/apimachinery `pkg/runtime/serializer/protobuf`.

pub mod order;
mod read;
mod write;

/// The table: a type, then its fields as `number name type`. Types: `s b i d y` scalars, `q x t u o` those with a JSON
/// form of their own, `@Name` messages, `^Name` messages whose fields stand in their owner, `=s` a message that stands
/// for a list, `[T` lists, `{T` maps.
const TABLE: &str = include_str!("protobuf/fields.txt");

/// What stands before every body.
pub(crate) const MAGIC: [u8; 4] = *b"k8s\0";

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    number: u32,
    name: &'static str,
    code: &'static str,
}

/// The fields of a message, as its lines in the table.
#[derive(Clone, Copy)]
pub(crate) struct Message(&'static str);

impl Message {
    fn fields(self) -> impl Iterator<Item = Field> {
        self.0.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some(Field {
                number: words.next()?.parse().ok()?,
                name: words.next()?,
                code: words.next()?,
            })
        })
    }
}

/// The table is searched, not kept in another form: few clients speak protobuf, and those rarely.
fn message(name: &str) -> Option<Message> {
    let line = format!("\n{name}\n");
    let begin = if TABLE.starts_with(&line[1..]) {
        line.len() - 1
    } else {
        TABLE.find(&line)? + line.len()
    };
    let rest = &TABLE[begin..];
    let mut end = 0;
    while rest[end..].starts_with(' ') {
        end += rest[end..].find('\n')? + 1;
    }
    Some(Message(&rest[..end]))
}

/// The message of a kind; options are the same in every group.
fn message_of(api_version: &str, kind: &str) -> Option<Message> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or_default();
    message(&format!("io.k8s.api.{package}.{version}.{kind}"))
        .or_else(|| message(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")))
}

/// Whether a kind has a protobuf form.
pub fn knows(api_version: &str, kind: &str) -> bool {
    message_of(api_version, kind).is_some()
}

pub use read::decode;
pub use write::encode;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{decode, encode};

    #[track_caller]
    fn round(value: Value) {
        let bytes = encode(&value).unwrap();
        assert_eq!(decode(&bytes).unwrap(), value);
    }

    #[test]
    fn objects_survive_the_round() {
        round(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}, "creationTimestamp": "2024-01-02T03:04:05Z"}, "data": {"k": "v"}, "binaryData": {"b": "AAE="}}),
        );
        round(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": 80, "path": "/"}}}],
                "volumes": [{"name": "v", "configMap": {"name": "m"}}]}}}}),
        );
    }

    #[test]
    fn a_client_s_bytes_are_read() {
        let bytes = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1a\x0a\x10\x0a\x01a\x1a\x0bkc-c0000000\x12\x06\x0a\x01k\x12\x01v\x1a\0\"\0";
        let value = decode(bytes).unwrap();
        assert_eq!(
            value,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kc-c0000000"}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn bad_bytes_are_refused() {
        assert!(decode(b"nope").unwrap_err().contains("expected prefix"));
        assert_eq!(decode(b"k8s\0garbage").unwrap_err(), "proto: illegal wireType 7");
        for end in 4..20 {
            let bytes = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap";
            assert!(decode(&bytes[..end]).is_err() || end == 4);
        }
    }
}
