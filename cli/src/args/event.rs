//! What can be typed about events.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Output, Place};

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub struct Cluster {
    /// Kubeconfig of a cluster, instead of the platform in the data directory.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

/// Which broker or channel of which cluster.
#[derive(Args, Clone, Debug)]
pub struct Topic {
    /// The broker: NAME or NAMESPACE/NAME; a channel: channel:NAME or channel:NAMESPACE/NAME.
    #[arg(value_name = "BROKER")]
    pub topic: String,
    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Debug, Subcommand)]
pub enum Event {
    /// Send an event to a broker, a channel or a URL.
    #[command(after_help = "Examples:\n  \
        weft event send default '{\"order\": 7}' --type shop.order.placed\n  \
        weft event send channel:shop/mails --data @mail.json --ext priority=high\n  \
        seq 3 | weft event send http://hello.default.localhost --data - --structured\n  \
        weft event send default -n 1000 --rate 50")]
    Send(Send),
    /// Print the events of a broker as they come.
    #[command(after_help = "Examples:\n  \
        weft event tail default\n  \
        weft event tail shop/orders --filter \"type LIKE 'shop.order.%' AND total > 100\"\n  \
        weft event tail default --from 10m -o json -n 1 | jq .event.data\n  \
        weft event tail default --from earliest --no-follow")]
    Tail(Tail),
    /// Show a trigger events once more, or pass over some.
    #[command(after_help = "Examples:\n  \
        weft event replay default my-trigger --from earliest\n  \
        weft event replay default my-trigger --from 2026-01-31T12:00:00Z\n  \
        weft event replay default my-trigger --from 15m\n  \
        weft event replay default my-trigger --from latest     # passes over what it is behind")]
    Replay(Replay),
    /// Look at events that no subscriber took, and send them once more.
    #[command(subcommand)]
    Dead(Dead),
}

#[derive(Args, Clone, Debug)]
pub struct Send {
    /// NAME or NAMESPACE/NAME of a broker, channel:NAME or channel:NAMESPACE/NAME, or a URL.
    pub target: String,
    /// The data: a text, @FILE, or - for what comes on standard input.
    #[arg(value_name = "DATA", conflicts_with = "data")]
    pub text: Option<String>,
    /// The data: a text, @FILE, or - for what comes on standard input.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// What happened, as a name.
    #[arg(long = "type", value_name = "TYPE", default_value = "dev.weft.event")]
    pub kind: String,
    /// Where it happened, as a URI reference.
    #[arg(long, value_name = "URI", default_value = "weft")]
    pub source: String,
    /// The event's id [default: one that nothing else has]. With -n a number follows it.
    #[arg(long)]
    pub id: Option<String>,
    /// What it happened to.
    #[arg(long)]
    pub subject: Option<String>,
    /// When it happened, for example 2026-01-31T12:00:00Z [default: now].
    #[arg(long)]
    pub time: Option<String>,
    /// The type of the data [default: that of JSON, text or bytes, as the data is].
    #[arg(long, value_name = "TYPE")]
    pub datacontenttype: Option<String>,
    /// One more attribute. Repeatable.
    #[arg(long = "ext", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub extensions: Vec<(String, String)>,
    /// Send so many events.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// Events a second [default: one after the other].
    #[arg(long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,
    /// Send one JSON object instead of attributes in headers.
    #[arg(long)]
    pub structured: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

#[derive(Args, Clone, Debug)]
pub struct Tail {
    #[command(flatten)]
    pub topic: Topic,
    /// Only events that this expression in CloudEvents SQL is true of.
    #[arg(long, value_name = "CESQL")]
    pub filter: Option<String>,
    /// Where to begin: earliest, latest, an offset, a date, or for how long back (10m)
    /// [default: latest, with --no-follow earliest].
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// End with the last event that is there.
    #[arg(long)]
    pub no_follow: bool,
    /// End after so many events.
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// How events are printed.
    #[arg(short, long, value_enum, default_value_t = Form::Pretty)]
    pub output: Form,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Form {
    /// For people.
    Pretty,
    /// A line each: offset, time, and the event as JSON.
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct Replay {
    #[command(flatten)]
    pub topic: Topic,
    /// The trigger: NAME in the broker's namespace, or NAMESPACE/NAME.
    pub trigger: String,
    /// Where to go: earliest, latest, an offset, a date, or for how long back (10m).
    #[arg(long, value_name = "PLACE")]
    pub from: String,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List the events that no subscriber took.
    Ls {
        #[command(flatten)]
        topic: Topic,
        /// How they are printed.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print one of them as JSON: the event, and why it was not taken.
    Show {
        #[command(flatten)]
        topic: Topic,
        /// Its number in the list.
        number: u64,
    },
    /// Deliver them once more to the subscribers that did not take them; those that are taken leave the list.
    #[command(after_help = "Examples:\n  \
        weft event dead resend default 3 4\n  \
        weft event dead resend default --all")]
    Resend {
        #[command(flatten)]
        topic: Topic,
        /// Their numbers in the list.
        #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
        numbers: Vec<u64>,
        /// All of them.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Trigger {
    /// Show how far triggers are: what waits for them, what they took, and why they did not.
    #[command(after_help = "Examples:\n  \
        weft trigger lag\n  \
        weft trigger lag shop/orders -o json")]
    Lag {
        /// NAME or NAMESPACE/NAME of the broker; all brokers by default.
        broker: Option<String>,
        /// How it is printed.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        #[command(flatten)]
        cluster: Cluster,
    },
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, for example --ext priority=high".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|it: &f64| it.is_finite() && *it > 0.0);
    rate.ok_or_else(|| "events a second are a number over 0, for example 50 or 0.5".to_owned())
}
