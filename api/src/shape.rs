//! The shape of Knative's Go types: one table from which objects are normalised, compared and described.
//!
//! Pure: values only.
//!
//! Upstream's webhooks decode an object into Go structures and encode it again, so that unknown fields go,
//! empty ones go or come, and quantities get their canonical form; errors name Go's types; and differences
//! are told by Go's paths. The tables in the modules below hold what that takes. The schemas of the CRDs
//! come from the same tables ([`schema`]).

pub mod autoscaling;
pub mod diff;
pub mod duck;
pub mod eventing;
pub mod flows;
pub mod messaging;
pub mod meta;
pub mod networking;
pub mod normal;
pub mod pod;
pub mod schema;
pub mod serving;
pub mod sinks;
pub mod sources;

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text, with its Go type: `string`, or a named one such as `v1.PullPolicy`.
    Text(&'static str),
    Bool,
    /// A whole number of 32 or 64 bits.
    Int32,
    Int64,
    /// Go's `int`, whose schema has no format.
    Int,
    Quantity,
    IntOrString,
    /// Text that is a URL, as [`crate::go::url`] reads it.
    Url,
    /// Anything: what upstream keeps as it is, or what has no table here.
    Any,
    List(&'static Kind),
    /// A map from text, with its Go type.
    Map(&'static str, &'static Kind),
    Struct(&'static Struct),
    /// What may be absent, as against empty.
    Pointer(&'static Kind),
}

/// A Go structure: its type with its package, and its fields in the order of Go's source.
#[derive(Debug)]
pub struct Struct {
    pub go: &'static str,
    pub fields: &'static [Field],
}

/// A field of a Go structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub go: &'static str,
    /// Its key; empty where the fields of the structure are the holder's own.
    pub json: &'static str,
    pub kind: Kind,
    /// Whether an empty value is written.
    pub keeps_empty: bool,
    /// What the CRD says of it.
    pub schema: Schema,
    /// What `kubectl explain` says of it; may be empty.
    pub doc: &'static str,
}

/// What a CRD says of a field beyond its kind.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    pub presence: Presence,
    pub is_required: bool,
    pub default: Option<Default>,
    pub list: ListType,
    pub is_atomic_map: bool,
}

/// What a CRD fills in.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    Text(&'static str),
    Number(i64),
    Flag(bool),
}

/// How much of a field a CRD knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Full,
    /// An object (or objects in a list) of which anything is kept: fields behind a feature flag.
    Open,
    /// Its known fields, and anything else is kept.
    FullAndOpen,
    /// The same of the elements of a list.
    FullWithOpenItems,
    /// Not at all: the API server prunes it.
    Hidden,
}

/// How lists are merged by server-side apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Unsaid,
    Atomic,
    /// By the value of this key of the elements.
    ByKey(&'static str),
}

/// A field that is left out when it is empty, as most are.
pub const fn field(go: &'static str, json: &'static str, kind: Kind) -> Field {
    Field {
        go,
        json,
        kind,
        keeps_empty: false,
        schema: Schema {
            presence: Presence::Full,
            is_required: false,
            default: None,
            list: ListType::Unsaid,
            is_atomic_map: false,
        },
        doc: "",
    }
}

/// A structure whose fields are the holder's own.
pub const fn embedded(go: &'static str, shape: &'static Struct) -> Field {
    field(go, "", Kind::Struct(shape))
}

impl Field {
    /// Written even when it is empty.
    pub const fn kept(mut self) -> Field {
        self.keeps_empty = true;
        self
    }

    /// [`Field::kept`], and required by the CRD.
    pub const fn required(mut self) -> Field {
        self.keeps_empty = true;
        self.schema.is_required = true;
        self
    }

    /// Required by the CRD, though Go leaves it out when it is empty.
    pub const fn needed(mut self) -> Field {
        self.schema.is_required = true;
        self
    }

    pub const fn open(mut self) -> Field {
        self.schema.presence = Presence::Open;
        self
    }

    pub const fn also_open(mut self) -> Field {
        self.schema.presence = Presence::FullAndOpen;
        self
    }

    pub const fn with_open_items(mut self) -> Field {
        self.schema.presence = Presence::FullWithOpenItems;
        self
    }

    pub const fn hidden(mut self) -> Field {
        self.schema.presence = Presence::Hidden;
        self
    }

    pub const fn default(mut self, default: &'static str) -> Field {
        self.schema.default = Some(Default::Text(default));
        self
    }

    pub const fn default_number(mut self, default: i64) -> Field {
        self.schema.default = Some(Default::Number(default));
        self
    }

    pub const fn default_flag(mut self, default: bool) -> Field {
        self.schema.default = Some(Default::Flag(default));
        self
    }

    pub const fn atomic(mut self) -> Field {
        self.schema.list = ListType::Atomic;
        self
    }

    pub const fn keyed(mut self, key: &'static str) -> Field {
        self.schema.list = ListType::ByKey(key);
        self
    }

    pub const fn atomic_map(mut self) -> Field {
        self.schema.is_atomic_map = true;
        self
    }

    pub const fn doc(mut self, doc: &'static str) -> Field {
        self.doc = doc;
        self
    }

    /// Whether the fields of the structure are the holder's own.
    pub fn is_embedded(&self) -> bool {
        self.json.is_empty()
    }
}

impl Struct {
    /// The structure's type without its package.
    pub fn name(&self) -> &'static str {
        self.go.rsplit('.').next().unwrap_or(self.go)
    }

    /// The field with this key, and the Go names of the embedded structures on the way to it.
    pub fn find(&self, json: &str) -> Option<(&'static Field, Vec<&'static str>)> {
        for field in self.fields {
            if field.is_embedded() {
                let Kind::Struct(inner) = field.kind else { continue };
                if let Some((found, mut way)) = inner.find(json) {
                    way.insert(0, field.go);
                    return Some((found, way));
                }
            } else if field.json == json {
                return Some((field, Vec::new()));
            }
        }
        None
    }
}

impl Kind {
    /// Go's name of the type.
    pub fn go(&self) -> String {
        match self {
            Kind::Text(go) | Kind::Map(go, _) => (*go).to_string(),
            Kind::Bool => "bool".to_string(),
            Kind::Int32 => "int32".to_string(),
            Kind::Int64 => "int64".to_string(),
            Kind::Int => "int".to_string(),
            Kind::Quantity => "resource.Quantity".to_string(),
            Kind::IntOrString => "intstr.IntOrString".to_string(),
            Kind::Url => "apis.URL".to_string(),
            Kind::Any => "interface {}".to_string(),
            Kind::List(item) => format!("[]{}", item.go()),
            Kind::Struct(shape) => shape.go.to_string(),
            Kind::Pointer(inner) => format!("*{}", inner.go()),
        }
    }
}

/// Plain text.
pub const TEXT: Kind = Kind::Text("string");
/// A list of plain texts.
pub const TEXTS: Kind = Kind::List(&TEXT);
/// A map from text to text.
pub const TEXT_MAP: Kind = Kind::Map("map[string]string", &TEXT);
/// A truth value that may be absent.
pub const BOOL_POINTER: Kind = Kind::Pointer(&Kind::Bool);
/// A number of 64 bits that may be absent.
pub const INT64_POINTER: Kind = Kind::Pointer(&Kind::Int64);
/// A number of 32 bits that may be absent.
pub const INT32_POINTER: Kind = Kind::Pointer(&Kind::Int32);
