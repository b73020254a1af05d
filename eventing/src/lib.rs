//! The place of the event broker, its triggers and their delivery.
