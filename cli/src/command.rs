//! The commands that look at, or change, a platform that runs.

pub mod crds;
pub mod down;
pub mod event;
pub mod explain;
pub mod image;
pub mod logs;
pub mod status;
pub mod table;
pub mod trigger;

/// Prints an error, for people or as a line of JSON: the chain, outermost first, which is what was being done and
/// then why it failed.
pub fn complain(error: &anyhow::Error, json: bool) {
    let text = format!("{error:#}");
    match json {
        true => eprintln!("{}", serde_json::json!({"level": "ERROR", "message": text})),
        false => eprintln!("weft: {text}"),
    }
}
