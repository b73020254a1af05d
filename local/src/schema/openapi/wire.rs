//! Swagger documents in protobuf, the only form in which kubectl takes them.
//!
//! Pure: a document in, bytes out.
//! Source: github.com/google/gnostic-models `openapiv2/OpenAPIv2.proto`.

use serde_json::Value;

/// A whole document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, 1, "2.0");
    let mut info = Vec::new();
    text(&mut info, 1, document["info"]["title"].as_str().unwrap_or(""));
    text(&mut info, 2, document["info"]["version"].as_str().unwrap_or(""));
    message(&mut bytes, 2, &info);
    let mut paths = Vec::new();
    for (name, item) in entries(&document["paths"]) {
        message(&mut paths, 2, &named(name, &path_item(item)));
    }
    message(&mut bytes, 8, &paths);
    let mut definitions = Vec::new();
    for (name, one) in entries(&document["definitions"]) {
        message(&mut definitions, 1, &named(name, &schema(one)));
    }
    message(&mut bytes, 9, &definitions);
    bytes
}

fn path_item(item: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            message(&mut bytes, number, &operation(&item[method]));
        }
    }
    bytes
}

fn operation(operation: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, 5, operation["operationId"].as_str().unwrap_or(""));
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let mut query = Vec::new();
        text(&mut query, 2, "query");
        text(&mut query, 4, parameter["name"].as_str().unwrap_or(""));
        text(&mut query, 6, parameter["type"].as_str().unwrap_or(""));
        // Three nested choices: a parameter, not of the body, of the query.
        let mut not_body = Vec::new();
        message(&mut not_body, 3, &query);
        let mut choice = Vec::new();
        message(&mut choice, 2, &not_body);
        let mut item = Vec::new();
        message(&mut item, 1, &choice);
        message(&mut bytes, 8, &item);
    }
    extensions(&mut bytes, 13, operation);
    bytes
}

fn schema(schema: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let word = |name: &str| schema[name].as_str().unwrap_or("");
    text(&mut bytes, 1, word("$ref"));
    text(&mut bytes, 2, word("format"));
    text(&mut bytes, 4, word("description"));
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text(&mut bytes, 19, name);
    }
    if schema["additionalProperties"].is_object() {
        let mut choice = Vec::new();
        message(&mut choice, 1, &self::schema(&schema["additionalProperties"]));
        message(&mut bytes, 21, &choice);
    }
    if !word("type").is_empty() {
        let mut kinds = Vec::new();
        text(&mut kinds, 1, word("type"));
        message(&mut bytes, 22, &kinds);
    }
    if schema["items"].is_object() {
        let mut items = Vec::new();
        message(&mut items, 1, &self::schema(&schema["items"]));
        message(&mut bytes, 23, &items);
    }
    if schema["properties"].is_object() {
        let mut properties = Vec::new();
        for (name, one) in entries(&schema["properties"]) {
            message(&mut properties, 1, &named(name, &self::schema(one)));
        }
        message(&mut bytes, 25, &properties);
    }
    extensions(&mut bytes, 31, schema);
    bytes
}

/// What begins with `x-`, as YAML: JSON is YAML.
fn extensions(bytes: &mut Vec<u8>, number: u32, object: &Value) {
    for (name, value) in entries(object).filter(|(name, _)| name.starts_with("x-")) {
        let mut any = Vec::new();
        text(&mut any, 2, &value.to_string());
        message(bytes, number, &named(name, &any));
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + value.len() + 8);
    text(&mut bytes, 1, name);
    message(&mut bytes, 2, value);
    bytes
}

fn text(bytes: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        message(bytes, number, text.as_bytes());
    }
}

fn message(bytes: &mut Vec<u8>, number: u32, content: &[u8]) {
    varint(bytes, u64::from(number) << 3 | 2);
    varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_fields_with_their_numbers() {
        let bytes = schema(&json!({"type": "string", "x-k": [1]}));
        assert_eq!(bytes, b"\xb2\x01\x08\x0a\x06string\xfa\x01\x0c\x0a\x03x-k\x12\x05\x12\x03[1]");
    }
}
