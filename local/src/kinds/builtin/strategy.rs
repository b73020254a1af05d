//! What is done to the objects of a built-in kind on their way in: the functions one kind may give.
//!
//! Pure: values in, values out.

use serde_json::Value;

use crate::kinds::problem::FieldError;

/// The functions of one kind. Those not given do nothing.
pub(in crate::kinds) struct Strategy {
    pub(in crate::kinds) default: fn(&mut Value),
    pub(in crate::kinds) prepare_create: fn(&mut Value),
    pub(in crate::kinds) prepare_update: fn(&mut Value, &Value),
    pub(in crate::kinds) prepare_status: fn(&mut Value, &Value),
    pub(in crate::kinds) validate: fn(&Value) -> Vec<FieldError>,
    pub(in crate::kinds) validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    pub(in crate::kinds) validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    pub(in crate::kinds) warnings: fn(&Value, Option<&Value>) -> Vec<String>,
}

/// A kind that is kept as it comes.
pub(in crate::kinds) const PLAIN: Strategy = Strategy {
    default: |_| {},
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    prepare_status: |_, _| {},
    validate: |_| Vec::new(),
    validate_update: |_, _| Vec::new(),
    validate_status: |_, _| Vec::new(),
    warnings: |_, _| Vec::new(),
};
