//! What can be typed: the commands, their arguments and the help that explains them.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use local::node::MOST_PODS;

pub mod event;

/// Serverless on Kubernetes or on this machine alone, in one program.
///
/// `weft up` starts a Kubernetes API, a gateway, scale-to-zero and a node on this machine. The other
/// roles (controller, autoscaler, activator, gateway, queue) run against any cluster.
#[derive(Debug, Parser)]
#[command(name = "weft", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// How log lines are written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "WEFT_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Which log lines are written, for example `info` or `warn,autoscaler=debug`.
    #[arg(long, global = true, default_value = "warn", env = "WEFT_LOG")]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole platform on this machine.
    Up(Up),
    /// Stop the platform that runs from the data directory, and its pods.
    Down(Place),
    /// Show whether the platform runs, where, and its services.
    Status(Place),
    /// Say which program runs when a manifest names an image.
    #[command(subcommand)]
    Image(Image),
    /// Print the logs of all pods of a service, also of those that scaling to zero has ended.
    Logs(Logs),
    /// Show the last scaling decisions of a service, each with its reason.
    Explain(Explain),
    /// Send events, watch them pass, and look after those that nobody took.
    #[command(subcommand)]
    Event(event::Event),
    /// Show how far triggers are with the events of their brokers.
    #[command(subcommand)]
    Trigger(event::Trigger),
    /// Print the custom resource definitions that the platform installs.
    Crds,
    /// Run the controllers against a cluster.
    Controller(Role),
    /// Run the autoscaler against a cluster.
    Autoscaler(AutoscalerRole),
    /// Run the activator against a cluster: it holds requests for revisions at zero.
    Activator(ActivatorRole),
    /// Run the gateway against a cluster: it routes requests to revisions.
    Gateway(GatewayRole),
    /// Run beside a container of a revision; configured by the controller through its environment.
    Queue,
    /// Run one of the sample services; this is what the sample images start.
    #[command(subcommand, hide = true)]
    Sample(Sample),
}

/// Where the platform keeps its things.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Directory with the objects, logs and the kubeconfig [default: ~/.local/share/weft].
    #[arg(long, value_name = "DIR", env = "WEFT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Up {
    #[command(flatten)]
    pub place: Place,
    /// Address of the Kubernetes API; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub api_addr: SocketAddr,
    /// Address of the gateway [default: 127.0.0.1:80 if it can be bound, else 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<SocketAddr>,
    /// Address of the gateway for HTTPS [default: 127.0.0.1:443 if it can be bound, else
    /// 127.0.0.1:8443, else none]. It serves the hosts of Ingresses with a `tls` Secret.
    #[arg(long, value_name = "ADDR")]
    pub https_addr: Option<SocketAddr>,
    /// Program to run for an image: `--image dev.local/app:v1=./target/release/app`. Repeatable.
    #[arg(long = "image", value_name = "NAME=PATH", value_parser = name_and_path)]
    pub images: Vec<(String, PathBuf)>,
    /// Manifest to apply once the API is ready. Repeatable.
    #[arg(long = "apply", value_name = "FILE")]
    pub apply: Vec<PathBuf>,
    /// Return once the platform is ready, and leave it running.
    #[arg(long)]
    pub detach: bool,
    /// Run pods without network namespaces even where the machine allows them.
    #[arg(long)]
    pub host_network: bool,
    /// Pods that run at the same time, at most; the others wait.
    #[arg(long, value_name = "N", default_value_t = MOST_PODS,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_PODS)))]
    pub max_pods: u16,
    /// Set by `--detach` on the process that stays.
    #[arg(long, hide = true)]
    pub detached: bool,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Run the program at PATH where a manifest names the image NAME.
    Add {
        /// The image's name as manifests write it, for example `dev.local/app:v1`.
        name: String,
        /// The program.
        path: PathBuf,
        /// A file or folder of this machine that its containers see too, besides the folder of the program and the
        /// system's. Repeatable. Only as root do containers not see all files.
        #[arg(long, value_name = "PATH")]
        with: Vec<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// List the images and their programs.
    Ls(Place),
    /// Forget an image.
    Rm {
        /// The image's name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which service of which cluster.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Name of the Service.
    pub service: String,
    /// Namespace of the Service.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Kubeconfig of a cluster, instead of the platform in the data directory.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args, Clone, Debug)]
pub struct Logs {
    #[command(flatten)]
    pub target: Target,
    /// Go on printing as lines arrive and pods come and go.
    #[arg(short, long)]
    pub follow: bool,
    /// The container to read.
    #[arg(short, long, default_value = "user-container")]
    pub container: String,
    /// Lines of each pod to begin with; all by default.
    #[arg(long)]
    pub tail: Option<i64>,
}

#[derive(Args, Clone, Debug)]
pub struct Explain {
    #[command(flatten)]
    pub target: Target,
    /// How the decisions are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// What every role needs to know.
#[derive(Args, Clone, Debug)]
pub struct Role {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, ~/.kube/config, or the pod's own account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace that the platform is installed in.
    #[arg(long, default_value = "knative-serving", env = "SYSTEM_NAMESPACE")]
    pub system_namespace: String,
    /// Namespace of Eventing's ConfigMaps.
    #[arg(long, default_value = "knative-eventing", env = "EVENTING_SYSTEM_NAMESPACE")]
    pub eventing_namespace: String,
    /// Address for health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9090")]
    pub admin_addr: SocketAddr,
}

#[derive(Args, Clone, Debug)]
pub struct AutoscalerRole {
    #[command(flatten)]
    pub role: Role,
    /// Address that takes load reports and answers `weft explain`.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub addr: SocketAddr,
}

#[derive(Args, Clone, Debug)]
pub struct ActivatorRole {
    #[command(flatten)]
    pub role: Role,
    /// Address that takes requests.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8012")]
    pub addr: SocketAddr,
    /// Address that takes requests to revisions that speak HTTP/2.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8013")]
    pub h2c_addr: SocketAddr,
    /// Address that takes requests in TLS while `system-internal-tls` is on.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8112")]
    pub tls_addr: SocketAddr,
    /// URL that load reports go to.
    #[arg(long, default_value = "http://autoscaler.knative-serving.svc.cluster.local:8080")]
    pub autoscaler: String,
}

#[derive(Args, Clone, Debug)]
pub struct GatewayRole {
    #[command(flatten)]
    pub role: Role,
    /// Address for requests from outside the cluster.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub addr: SocketAddr,
    /// Address for HTTPS from outside the cluster: the hosts of Ingresses with a `tls` Secret. Clients
    /// that are redirected to HTTPS call port 443, so this is to be its target.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443")]
    pub https_addr: SocketAddr,
    /// Address for requests from inside the cluster.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8081")]
    pub local_addr: SocketAddr,
    /// Address for HTTPS from inside the cluster: the hosts there that have certificates, with `cluster-local-domain-tls`.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8444")]
    pub local_https_addr: SocketAddr,
    /// URL that load reports go to.
    #[arg(long, default_value = "http://autoscaler.knative-serving.svc.cluster.local:8080")]
    pub autoscaler: String,
    /// Hold no requests and report no load: send them to the endpoints of Services. For Knative Serving with its own
    /// activator and autoscaler, whose networking layer the gateway then is.
    #[arg(long, conflicts_with = "autoscaler")]
    pub endpoints_only: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Sample {
    /// Answers with a greeting.
    Hello,
    /// Sleeps, computes and allocates as the query asks.
    Slow,
    /// Echoes messages, unary and streamed.
    Grpc,
    /// Echoes WebSocket messages.
    Websocket,
    /// Prints events.
    EventDisplay,
}

fn name_and_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err("write it as NAME=PATH, for example dev.local/app:v1=./app".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn images_are_name_and_path() {
        let cases = [
            ("dev.local/a:v1=./a", Some(("dev.local/a:v1", "./a"))),
            ("a=b=c", Some(("a", "b=c"))),
            ("a", None),
            ("=b", None),
            ("a=", None),
        ];
        for (text, wanted) in cases {
            let found = name_and_path(text).ok();
            let wanted = wanted.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
