//! Errors of fields, rendered as Knative renders them: clients compare the text.
//!
//! Source: knative.dev/pkg `apis/field_error.go`.
