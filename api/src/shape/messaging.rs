//! The shapes of Channel, InMemoryChannel and Subscription.
//!
//! Pure: tables. Source: knative/eventing `pkg/apis/messaging/v1`.

use super::{
    Kind, Struct, TEXT,
    duck::{
        AUTH, CHANNELABLE_SPEC, CHANNELABLE_STATUS, DELIVERY_FIELD, DELIVERY_STATUS,
        DESTINATION_POINTER, OPEN_DESTINATION, REFERENCE,
    },
    embedded,
    eventing::TYPE_META,
    field,
    meta::{ANNOTATIONS, CONDITIONS, OBSERVED_GENERATION},
};

const TEXT_POINTER: Kind = Kind::Pointer(&TEXT);

/// What a Channel wants.
pub static CHANNEL_SPEC: Struct = Struct {
    go: "v1.ChannelSpec",
    fields: &[
        field("ChannelTemplate", "channelTemplate", TEMPLATE_POINTER)
            .doc("The kind of channel that is made, with the same name."),
        embedded("ChannelableSpec", &CHANNELABLE_SPEC),
    ],
};

static CHANNEL_TEMPLATE: Struct = Struct {
    go: "v1.ChannelTemplateSpec",
    fields: &[
        embedded("TypeMeta", &TYPE_META),
        field("Spec", "spec", Kind::Any).open().doc("Spec of the channel."),
    ],
};

/// A channel to make.
pub const TEMPLATE_POINTER: Kind = Kind::Pointer(&Kind::Struct(&CHANNEL_TEMPLATE));

/// What is known of a Channel.
pub static CHANNEL_STATUS: Struct = Struct {
    go: "v1.ChannelStatus",
    fields: &[
        embedded("ChannelableStatus", &CHANNELABLE_STATUS),
        field("Channel", "channel", Kind::Pointer(&Kind::Struct(&REFERENCE)))
            .doc("The channel that was made."),
    ],
};

/// What an InMemoryChannel wants.
pub static IN_MEMORY_CHANNEL_SPEC: Struct = Struct {
    go: "v1.InMemoryChannelSpec",
    fields: &[embedded("ChannelableSpec", &CHANNELABLE_SPEC)],
};

/// What is known of an InMemoryChannel.
pub static IN_MEMORY_CHANNEL_STATUS: Struct = Struct {
    go: "v1.InMemoryChannelStatus",
    fields: &[embedded("ChannelableStatus", &CHANNELABLE_STATUS)],
};

/// What a Subscription wants.
pub static SUBSCRIPTION_SPEC: Struct = Struct {
    go: "v1.SubscriptionSpec",
    fields: &[
        field("Channel", "channel", Kind::Struct(&REFERENCE))
            .also_open()
            .doc("The channel, which stays the same."),
        field("Subscriber", "subscriber", Kind::Pointer(&Kind::Struct(&OPEN_DESTINATION)))
            .doc("Who gets the events."),
        field("Reply", "reply", DESTINATION_POINTER).doc("Who gets the subscriber's answers."),
        DELIVERY_FIELD,
    ],
};

/// What is known of a Subscription.
pub static SUBSCRIPTION_STATUS: Struct = Struct {
    go: "v1.SubscriptionStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("PhysicalSubscription", "physicalSubscription", Kind::Struct(&PHYSICAL_SUBSCRIPTION))
            .doc("The URLs of all involved."),
        AUTH,
    ],
};

static PHYSICAL_SUBSCRIPTION: Struct = Struct {
    go: "v1.SubscriptionStatusPhysicalSubscription",
    fields: &[
        field("SubscriberURI", "subscriberUri", TEXT),
        field("SubscriberCACerts", "subscriberCACerts", TEXT_POINTER),
        field("SubscriberAudience", "subscriberAudience", TEXT_POINTER),
        field("ReplyURI", "replyUri", TEXT),
        field("ReplyCACerts", "replyCACerts", TEXT_POINTER),
        field("ReplyAudience", "replyAudience", TEXT_POINTER),
        embedded("DeliveryStatus", &DELIVERY_STATUS),
    ],
};
