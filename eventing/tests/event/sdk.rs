//! The SDK of the CloudEvents project at headers and bodies, without what its own binding brings along.

use cloudevents::{
    Event,
    event::SpecVersion,
    message::{BinaryDeserializer, BinarySerializer, MessageAttributeValue, Result},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The event of a message in binary mode.
pub fn read(headers: &HeaderMap, body: Vec<u8>) -> Result<Event> {
    Received { headers, body }.into_event()
}

/// The message for an event in binary mode.
pub fn written(event: Event) -> Result<(HeaderMap, Vec<u8>)> {
    event.deserialize_binary(Sent(HeaderMap::new()))
}

struct Received<'a> {
    headers: &'a HeaderMap,
    body: Vec<u8>,
}

impl BinaryDeserializer for Received<'_> {
    fn deserialize_binary<R, V: BinarySerializer<R>>(self, mut visitor: V) -> Result<R> {
        let text = |value: &HeaderValue| value.to_str().expect("it is ASCII").to_owned();
        let version = SpecVersion::try_from(&*text(&self.headers["ce-specversion"]))?;
        visitor = visitor.set_spec_version(version.clone())?;
        for (name, value) in self.headers {
            let value = MessageAttributeValue::String(text(value));
            visitor = match name.as_str().strip_prefix("ce-") {
                Some("specversion") => visitor,
                Some(name) if version.attribute_names().contains(&name) => {
                    visitor.set_attribute(name, value)?
                }
                Some(name) => visitor.set_extension(name, value)?,
                None if *name == header::CONTENT_TYPE => {
                    visitor.set_attribute("datacontenttype", value)?
                }
                None => visitor,
            };
        }
        match self.body.is_empty() {
            true => visitor.end(),
            false => visitor.end_with_data(self.body),
        }
    }
}

struct Sent(HeaderMap);

impl Sent {
    fn set(mut self, name: &str, value: &str) -> Result<Sent> {
        let name = match name {
            "datacontenttype" => header::CONTENT_TYPE,
            name => HeaderName::try_from(format!("ce-{name}")).expect("a name"),
        };
        self.0.insert(name, HeaderValue::from_str(value).expect("a value"));
        Ok(self)
    }
}

impl BinarySerializer<(HeaderMap, Vec<u8>)> for Sent {
    fn set_spec_version(self, version: SpecVersion) -> Result<Sent> {
        self.set("specversion", version.as_str())
    }

    fn set_attribute(self, name: &str, value: MessageAttributeValue) -> Result<Sent> {
        self.set(name, &value.to_string())
    }

    fn set_extension(self, name: &str, value: MessageAttributeValue) -> Result<Sent> {
        self.set(name, &value.to_string())
    }

    fn end_with_data(self, body: Vec<u8>) -> Result<(HeaderMap, Vec<u8>)> {
        Ok((self.0, body))
    }

    fn end(self) -> Result<(HeaderMap, Vec<u8>)> {
        Ok((self.0, Vec::new()))
    }
}
