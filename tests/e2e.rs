//! The platform as people use it: a real `weft up`, the real kubectl, requests through the gateway.

#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/containers.rs"]
mod containers;
#[path = "e2e/domains.rs"]
mod domains;
#[path = "e2e/event_commands.rs"]
mod event_commands;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/gateway.rs"]
mod gateway;
#[path = "e2e/hello.rs"]
mod hello;
#[path = "e2e/horizontal.rs"]
mod horizontal;
#[path = "e2e/kubectl.rs"]
mod kubectl;
#[path = "e2e/load.rs"]
mod load;
#[path = "e2e/places.rs"]
mod places;
#[path = "e2e/pods.rs"]
mod pods;
#[path = "e2e/protocols.rs"]
mod protocols;
#[path = "e2e/restart.rs"]
mod restart;
#[path = "e2e/roles.rs"]
mod roles;
#[path = "e2e/room.rs"]
mod room;
#[path = "e2e/samples.rs"]
mod samples;
#[path = "e2e/secure.rs"]
mod secure;
#[path = "e2e/several.rs"]
mod several;
#[path = "e2e/telling.rs"]
mod telling;
#[path = "e2e/volumes.rs"]
mod volumes;
