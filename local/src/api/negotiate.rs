//! In which form a client wants its answer.
//!
//! Pure: text in, choice out.
//! Source: k8s.io/apiserver `pkg/endpoints/handlers/negotiation`.

use super::status::{Refusal, Status};

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The bytes.
    pub encoding: Encoding,
    /// What the object is turned into first.
    pub view: View,
    /// Asked for in the media type.
    pub pretty: bool,
    /// Without managed fields where the bytes are those that are stored.
    pub is_slim: bool,
}

/// The bytes of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

impl Encoding {
    /// The content type.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What an object is turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Itself.
    #[default]
    Object,
    /// Rows for people; the flag says `v1beta1`.
    Table { beta: bool },
    /// Only its metadata; the flag says `v1beta1`.
    Metadata { beta: bool },
    /// A list of only metadata; the flag says `v1beta1`.
    MetadataList { beta: bool },
    /// Discovery of all groups at once.
    Discovery,
}

/// What can be offered.
pub const ALL: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Chooses a form from an `Accept` header. `protobuf` tells whether this answer has that form, which is asked only
/// where it matters; `views` tells which views it has.
pub fn choose(
    accept: &str,
    protobuf: impl Fn() -> bool,
    views: impl Fn(View) -> bool,
) -> Result<Form, Refusal> {
    if accept.trim().is_empty() {
        return Ok(Form::default());
    }
    let mut clauses: Vec<(i32, Form)> = Vec::new();
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let encoding = match parts.next().unwrap_or_default() {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            "application/vnd.kubernetes.protobuf" if protobuf() => Encoding::Protobuf,
            _ => continue,
        };
        let mut quality = 1000;
        let (mut shape, mut group, mut version, mut pretty) = ("", "", "", false);
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match key.trim() {
                "q" => quality = (value.parse::<f64>().unwrap_or(1.0) * 1000.0) as i32,
                "as" => shape = value,
                "g" => group = value,
                "v" => version = value,
                "pretty" => pretty = value == "1",
                _ => {}
            }
        }
        let view = match (shape, group, version) {
            ("", _, _) => View::Object,
            ("Table", "meta.k8s.io", "v1") => View::Table { beta: false },
            ("Table", "meta.k8s.io", "v1beta1") => View::Table { beta: true },
            ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") => {
                View::Metadata { beta: version != "v1" }
            }
            ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => {
                View::MetadataList { beta: version != "v1" }
            }
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => View::Discovery,
            _ => continue,
        };
        if view != View::Object && !views(view) {
            continue;
        }
        clauses.push((quality, Form { encoding, view, pretty, is_slim: false }));
    }
    // Equal qualities keep the client's order.
    clauses.sort_by_key(|(quality, _)| -quality);
    clauses.into_iter().next().map(|(_, form)| form).ok_or_else(|| {
        let offers = if protobuf() { &ALL[..] } else { &ALL[..2] };
        Status::not_acceptable(offers)
    })
}

#[cfg(test)]
mod tests {
    use super::{Encoding, View, choose};

    #[track_caller]
    fn check(accept: &str, expected: Option<(Encoding, View)>) {
        let form = choose(accept, || true, |view| view != View::Discovery).ok();
        assert_eq!(form.map(|form| (form.encoding, form.view)), expected, "{accept}");
    }

    #[test]
    fn the_first_of_the_best_wins() {
        let table = View::Table { beta: false };
        check("", Some((Encoding::Json, View::Object)));
        check("*/*", Some((Encoding::Json, View::Object)));
        check("application/*", None);
        check("text/html", None);
        check("text/html, application/json;q=0.5", Some((Encoding::Json, View::Object)));
        check(
            "application/json;q=0.1, application/yaml;q=0.9",
            Some((Encoding::Yaml, View::Object)),
        );
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Some((Encoding::Protobuf, View::Object)),
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, table)),
        );
        check(
            "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
            Some((Encoding::Json, View::Object)),
        );
        check("application/json;as=Table;v=v9;g=meta.k8s.io", None);
    }
}
