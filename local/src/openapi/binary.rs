//! Version 2 of OpenAPI in the protobuf form that old kubectls ask for.
//!
//! Pure: a document in, bytes out.
//! Source: github.com/google/gnostic `openapiv2/OpenAPIv2.proto`.

use serde_json::Value;

/// The content type of the answer: the one that clients ask for has an `@`, which they cannot read themselves.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn part(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn text(number: u64, value: &Value, out: &mut Vec<u8>) {
    if let Some(text) = value.as_str() {
        part(number, text.as_bytes(), out);
    }
}

fn below(number: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    write(&mut bytes);
    part(number, &bytes, out);
}

/// Writes a document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(1, &document["swagger"], &mut out);
    below(2, &mut out, |out| {
        text(1, &document["info"]["title"], out);
        text(2, &document["info"]["version"], out);
    });
    below(8, &mut out, |out| {
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            below(2, out, |out| {
                part(1, path.as_bytes(), out);
                below(2, out, |out| path_item(item, out));
            });
        }
    });
    below(9, &mut out, |out| named_schemas(&document["definitions"], out));
    out
}

fn path_item(item: &Value, out: &mut Vec<u8>) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        let Some(operation) = item.get(method) else { continue };
        below(number, out, |out| {
            text(5, &operation["operationId"], out);
            for media_type in operation["consumes"].as_array().into_iter().flatten() {
                text(7, media_type, out);
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
                below(8, out, |out| {
                    below(1, out, |out| {
                        below(2, out, |out| {
                            below(3, out, |out| {
                                text(2, &parameter["in"], out);
                                text(4, &parameter["name"], out);
                                text(6, &parameter["type"], out);
                            });
                        });
                    });
                });
            }
            below(9, out, |out| {
                below(1, out, |out| {
                    part(1, b"200", out);
                    below(2, out, |out| below(1, out, |out| part(1, b"OK", out)));
                });
            });
            extensions(13, operation, out);
        });
    }
}

fn named_schemas(schemas: &Value, out: &mut Vec<u8>) {
    for (name, value) in schemas.as_object().into_iter().flatten() {
        below(1, out, |out| {
            part(1, name.as_bytes(), out);
            below(2, out, |out| schema(value, out));
        });
    }
}

fn schema(value: &Value, out: &mut Vec<u8>) {
    text(1, &value["$ref"], out);
    text(2, &value["format"], out);
    text(4, &value["description"], out);
    for name in value["required"].as_array().into_iter().flatten() {
        text(19, name, out);
    }
    if let Some(values) = value.get("additionalProperties") {
        below(21, out, |out| match values {
            Value::Bool(flag) => {
                varint(2 << 3, out);
                varint(u64::from(*flag), out);
            }
            values => below(1, out, |out| schema(values, out)),
        });
    }
    if value["type"].is_string() {
        below(22, out, |out| text(1, &value["type"], out));
    }
    if let Some(items) = value.get("items") {
        below(23, out, |out| below(1, out, |out| schema(items, out)));
    }
    if value["properties"].is_object() {
        below(25, out, |out| named_schemas(&value["properties"], out));
    }
    extensions(31, value, out);
}

/// Extensions are named, and their values stand as YAML, which JSON is.
fn extensions(number: u64, value: &Value, out: &mut Vec<u8>) {
    for (name, extension) in
        value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"))
    {
        below(number, out, |out| {
            part(1, name.as_bytes(), out);
            below(2, out, |out| part(2, extension.to_string().as_bytes(), out));
        });
    }
}
