//! The one binary: reads the arguments and calls what they name.

use std::process::ExitCode;

use clap::Parser;
use cli::{
    args::{Arguments, Command, LogFormat},
    command, roles, sample, up,
};
use runtime::telemetry::Format;

/// Objects are many small pieces of memory, and a quarter of the time went to finding them with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.log_format == LogFormat::Json;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::complain(&error, json);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let json = arguments.log_format == LogFormat::Json;
    match arguments.command {
        // What runs beside or inside containers stays small: one thread, no logging set up.
        Command::Sample(sample) => return sample::run(sample),
        Command::Crds => return command::crds::run(),
        _ => {}
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing else has chosen a provider before");
    let format = if json { Format::Json } else { Format::Text };
    let levels = runtime::telemetry::start(format, &arguments.log)?;
    if let Command::Queue = arguments.command {
        return one_thread()?.block_on(roles::queue());
    }
    if let Command::Up(up) = &arguments.command
        && up.detach
    {
        return up::detach::run(up, json);
    }
    threads()?.block_on(async {
        match arguments.command {
            Command::Up(up) => up::run(up, json, levels).await,
            Command::Down(place) => command::down::run(place).await,
            Command::Status(place) => command::status::run(place).await,
            Command::Image(image) => command::image::run(image),
            Command::Logs(logs) => command::logs::run(logs).await,
            Command::Explain(explain) => command::explain::run(explain).await,
            Command::Event(event) => command::event::run(event).await,
            Command::Trigger(trigger) => command::trigger::run(trigger).await,
            Command::Controller(role) => roles::controller(role, levels).await,
            Command::Autoscaler(role) => roles::autoscaler(role, levels).await,
            Command::Activator(role) => roles::activator(role, levels).await,
            Command::Gateway(role) => roles::gateway(role, levels).await,
            Command::Sample(_) | Command::Crds | Command::Queue => {
                unreachable!("answered above")
            }
        }
    })
}

fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn threads() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
