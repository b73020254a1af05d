//! What conditions of several kinds of Eventing say alike.
//!
//! Pure: who marks says what time it is. Senders prove nothing of themselves here, so no policy applies.
//! Source: knative/eventing `pkg/auth`, `pkg/apis/*/v1/*_lifecycle.go`.

use jiff::Timestamp;

use crate::condition::{Condition, Set};

const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
const EVENT_POLICIES_READY: &str = "EventPoliciesReady";
const OIDC_IDENTITY_CREATED: &str = "OIDCIdentityCreated";
const OIDC_DISABLED: &str = "authentication-oidc feature disabled";

/// Nobody asked for a dead letter sink.
pub fn no_dead_letter_sink(set: Set, conditions: &mut Vec<Condition>, now: Timestamp) {
    let (reason, message) = ("DeadLetterSinkNotConfigured", "No dead letter sink is configured.");
    set.mark_true_because(conditions, DEAD_LETTER_SINK_RESOLVED, reason, message, now);
}

/// No EventPolicy restricts who may send.
pub fn no_policies(set: Set, conditions: &mut Vec<Condition>, now: Timestamp) {
    let message = "Feature \"authentication-oidc\" must be enabled to support Authorization";
    set.mark_true_because(conditions, EVENT_POLICIES_READY, "OIDCDisabled", message, now);
}

/// The sender needs no identity.
pub fn no_identity(set: Set, conditions: &mut Vec<Condition>, now: Timestamp) {
    set.mark_true_because(conditions, OIDC_IDENTITY_CREATED, OIDC_DISABLED, "", now);
}

/// The sender needs no token.
pub fn no_token(set: Set, conditions: &mut Vec<Condition>, now: Timestamp) {
    set.mark_true_because(conditions, "OIDCTokenSecretCreated", OIDC_DISABLED, "", now);
}
