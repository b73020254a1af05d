//! Kubernetes' protobuf envelope.
//!
//! Pure: bytes and values.

use serde_json::Value;

/// What stands before every protobuf body.
const MAGIC: [u8; 4] = *b"k8s\0";

/// Reads an object.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    if !bytes.starts_with(&MAGIC) {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned());
    }
    Err("proto: this kind has no protobuf form here".to_owned())
}

/// Writes an object.
pub fn encode(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
