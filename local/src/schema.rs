//! The shape of a kind's objects, as far as the API server needs it: decoding, defaulting, pruning,
//! validation, patches and server-side apply are all walks over an object beside its [`Schema`].
//!
//! Pure: a schema is a value; built-in types are parsed from a committed table when first walked.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub mod builtin;
pub mod cel;
pub mod decode;
pub mod formats;
pub mod path;
pub mod prune;
pub mod quantity;
pub mod structural;
pub mod validate;

/// The schema of one version of one kind.
#[derive(Clone)]
pub struct Schema {
    library: Arc<builtin::Library>,
    root: Arc<Shape>,
}

/// A place in a schema: what an object at that place may look like.
///
/// Derefs to the [`Shape`] of the place with references to named types followed.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    library: &'a builtin::Library,
    /// The shape as written at the property or element: patch strategy and default are said there.
    pub edge: &'a Shape,
    shape: &'a Shape,
}

/// What kind of JSON a place holds. Built-in types are as precise as their Go types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Anything at all (no type said).
    #[default]
    Any,
    Object,
    Array,
    String,
    Boolean,
    /// An integer of 32 bits (Go `int32`).
    Int32,
    /// An integer of 64 bits; CRDs' `integer`.
    Int64,
    Number,
    /// An integer or a string (`x-kubernetes-int-or-string`).
    IntOrString,
    /// A resource quantity: a string or a number, kept in canonical form.
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Base64 text.
    Bytes,
}

/// How a list merges in apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The whole list is one value.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these keys.
    Map(Vec<Box<str>>),
}

/// How a list or map merges in a strategic merge patch. Both may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// `merge`: elements merge instead of being replaced.
    pub merge: bool,
    /// `retainKeys`: a `$retainKeys` directive is understood.
    pub retain_keys: bool,
    /// The field that tells elements apart; none for lists of scalars.
    pub merge_key: Option<Box<str>>,
}

/// One place of a schema as written down.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub kind: Type,
    /// A named built-in type this place refers to; everything but `edge` facts is said there.
    pub(crate) refers: Option<u32>,
    /// The full name, for named built-in types: `io.k8s.api.core.v1.PodSpec`.
    pub name: Option<&'static str>,
    /// Sorted by name.
    pub properties: Vec<(Box<str>, Shape)>,
    pub required: Vec<Box<str>>,
    pub items: Option<Box<Shape>>,
    /// Values of the keys that are not properties.
    pub additional: Option<Box<Shape>>,
    pub default: Option<Value>,
    pub list_type: ListType,
    /// `x-kubernetes-map-type: atomic`: the whole object is one value in apply.
    pub atomic: bool,
    pub patch: Patch,
    /// Go writes the field even when it is empty.
    pub(crate) always: bool,
    /// Required, and yet left out when absent: a pointer in Go.
    pub(crate) optional: bool,
    /// Go tells an empty value from an absent one.
    pub(crate) empty_counts: bool,
    pub nullable: bool,
    pub preserve_unknown: bool,
    pub embedded_resource: bool,
    /// What only custom resources' schemas say.
    pub rules: Option<Box<Rules>>,
}

/// The value validations of a custom resource's schema.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub title: Option<String>,
    pub description: Option<String>,
    pub format: Option<String>,
    pub pattern: Option<String>,
    pub enumeration: Vec<Value>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<Shape>,
    pub any_of: Vec<Shape>,
    pub one_of: Vec<Shape>,
    pub not: Option<Box<Shape>>,
    /// `x-kubernetes-validations` as written.
    pub validations: Vec<Value>,
    /// The same, read when first needed.
    pub(crate) read: OnceLock<Vec<cel::Rule>>,
    /// The pattern, compiled when first needed.
    pub(crate) compiled: OnceLock<Option<regex::Regex>>,
}

impl Schema {
    /// The schema of the built-in type of that full name.
    pub fn builtin(library: &Arc<builtin::Library>, name: &str) -> Option<Schema> {
        let at = library.find(name)?;
        let root = Arc::new(Shape { kind: Type::Object, refers: Some(at), ..Shape::default() });
        Some(Schema { library: Arc::clone(library), root })
    }

    /// A schema of its own, whose references are to the library's types.
    pub fn own(library: &Arc<builtin::Library>, root: Shape) -> Schema {
        Schema { library: Arc::clone(library), root: Arc::new(root) }
    }

    /// The place of the whole object.
    pub fn root(&self) -> Node<'_> {
        Node::at(&self.library, &self.root)
    }

    pub fn library(&self) -> &Arc<builtin::Library> {
        &self.library
    }
}

impl<'a> Node<'a> {
    fn at(library: &'a builtin::Library, edge: &'a Shape) -> Node<'a> {
        let shape = match edge.refers {
            Some(at) => library.shape(at),
            None => edge,
        };
        Node { library, edge, shape }
    }

    /// The shape with references followed.
    pub fn shape(self) -> &'a Shape {
        self.shape
    }

    /// A declared property.
    pub fn property(self, name: &str) -> Option<Node<'a>> {
        self.shape.property(name).map(|shape| Node::at(self.library, shape))
    }

    /// What the value of that key must look like: a property, or what holds for other keys.
    pub fn field(self, name: &str) -> Option<Node<'a>> {
        self.property(name).or_else(|| self.additional())
    }

    /// The declared properties, by name.
    pub fn properties(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        self.shape
            .properties
            .iter()
            .map(move |(name, shape)| (&**name, Node::at(self.library, shape)))
    }

    /// What the elements of a list look like.
    pub fn items(self) -> Option<Node<'a>> {
        self.shape.items.as_deref().map(|shape| Node::at(self.library, shape))
    }

    /// What the values of a map look like.
    pub fn additional(self) -> Option<Node<'a>> {
        self.shape.additional.as_deref().map(|shape| Node::at(self.library, shape))
    }

    /// The same place for a shape found in [`Rules`].
    pub fn beside(self, shape: &'a Shape) -> Node<'a> {
        Node::at(self.library, shape)
    }

    /// How lists here merge in apply.
    pub fn list_type(self) -> &'a ListType {
        &self.shape.list_type
    }

    /// Whether the object here is one value in apply.
    pub fn is_atomic(self) -> bool {
        self.shape.atomic || self.edge.atomic
    }

    /// How the place merges in a strategic merge patch.
    pub fn patch(self) -> &'a Patch {
        &self.edge.patch
    }
}

impl std::ops::Deref for Node<'_> {
    type Target = Shape;
    fn deref(&self) -> &Shape {
        self.shape
    }
}

impl Rules {
    /// The rules in the Common Expression Language.
    pub fn cel_rules(&self) -> &[cel::Rule] {
        self.read.get_or_init(|| self.validations.iter().map(cel::Rule::read).collect())
    }
}

impl Shape {
    /// A declared property.
    pub fn property(&self, name: &str) -> Option<&Shape> {
        let at = self.properties.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }
}
